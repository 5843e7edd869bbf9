//! How a table of system calls is written: groups of numbers, and what is asked of arguments.
//!
//! Calls without a condition cost nothing: the kernel looks them up in a bitmap and runs no
//! filter. So what is called all the time has none.

use std::ffi::c_long;

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// Calls that belong together.
#[derive(Debug, Clone, Copy)]
pub(super) enum Group {
    /// With any arguments.
    Any(&'static [c_long]),
    /// With some.
    If(&'static [Call]),
}

/// A call, listed where one of the cases holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) number: c_long,
    pub(super) cases: &'static [Case],
}

/// All of these hold.
pub(super) type Case = &'static [Argument];

/// What is asked of an argument.
#[derive(Debug, Clone, Copy)]
pub(super) struct Argument {
    place: u8,
    is: Is,
}

#[derive(Debug, Clone, Copy)]
enum Is {
    Equal(u32),
    UpTo(u32),
    Masked { mask: u32, value: u32 },
    Null,
}

/// A call and its cases.
pub(super) const fn call(number: c_long, cases: &'static [Case]) -> Call {
    Call { number, cases }
}

/// The argument at `place`, from 0, is this. Of this and the next two, the lower half counts, as
/// for the kernel: they are for arguments of 32 bits and for flags.
pub(super) const fn is(place: u8, value: i32) -> Argument {
    Argument { place, is: Is::Equal(value.cast_unsigned()) }
}

/// It is this or less.
pub(super) const fn up_to(place: u8, value: i32) -> Argument {
    Argument { place, is: Is::UpTo(value.cast_unsigned()) }
}

/// Of these bits it has just those.
pub(super) const fn bits(place: u8, mask: i32, value: i32) -> Argument {
    Argument { place, is: Is::Masked { mask: mask.cast_unsigned(), value: value.cast_unsigned() } }
}

/// It is no address.
pub(super) const fn null(place: u8) -> Argument {
    Argument { place, is: Is::Null }
}

/// A case as the filter's compiler wants it.
pub(super) fn rule(case: Case) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(case.iter().map(condition).collect::<Result<_, _>>()?)
}

fn condition(argument: &Argument) -> Result<SeccompCondition, BackendError> {
    let lower = SeccompCmpArgLen::Dword;
    let (width, operator, value) = match argument.is {
        Is::Equal(value) => (lower, SeccompCmpOp::Eq, value),
        Is::UpTo(value) => (lower, SeccompCmpOp::Le, value),
        Is::Masked { mask, value } => (lower, SeccompCmpOp::MaskedEq(mask.into()), value),
        Is::Null => (SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0),
    };
    SeccompCondition::new(argument.place, width, operator, value.into())
}
