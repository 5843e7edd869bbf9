//! Becoming more than a role is: ids, capabilities, namespaces.

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, geteuid, setfsuid, setgid, setresgid, setresuid, setuid};

use super::Barrier::{Everywhere, Sandbox, SandboxOrUid};
use super::Group::Privileges;
use super::{Attempt, NO_FD, NOWHERE, Verdict, address, outcome, signed, try_call, worst};

/// `CLONE_NEWUSER | CLONE_FS`: the kernel never does both at once, but looks only after the filter.
const NEW_USER_AND_NOT: usize = 0x1000_0200;
const NEW_USER: usize = 0x1000_0000;
/// Namespaces of mounts, network, processes, names, mailboxes and control groups.
const OTHER_NAMESPACES: [usize; 6] =
    [0x0002_0000, 0x4000_0000, 0x2000_0000, 0x0400_0000, 0x0800_0000, 0x0200_0000];

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        name: "become-root",
        what: "become uid 0",
        group: Privileges,
        barrier: SandboxOrUid,
        act: |_| {
            let root = Uid::from_raw(0);
            worst([
                outcome(setuid(root)),
                outcome(setresuid(root, root, root)),
                try_call(libc::SYS_setreuid, [0, 0]),
            ])
        },
    },
    Attempt {
        name: "become-root-group",
        what: "become gid 0",
        group: Privileges,
        barrier: SandboxOrUid,
        act: |_| {
            let root = Gid::from_raw(0);
            worst([
                outcome(setgid(root)),
                outcome(setresgid(root, root, root)),
                try_call(libc::SYS_setgroups, [0, 0]),
            ])
        },
    },
    Attempt {
        name: "files-as-root",
        what: "open files as uid 0",
        group: Privileges,
        barrier: SandboxOrUid,
        act: |_| {
            // It has no errors: who files are opened as can only be asked for by setting it.
            setfsuid(Uid::from_raw(0));
            let became = setfsuid(geteuid());
            if became.is_root() && !geteuid().is_root() {
                Verdict::Allowed("files are opened as root".to_owned())
            } else {
                Verdict::Refused("no effect".to_owned())
            }
        },
    },
    Attempt {
        name: "raise-capabilities",
        what: "raise a capability",
        group: Privileges,
        barrier: SandboxOrUid,
        act: |_| {
            let wanted = CapsHashSet::from([Capability::CAP_SYS_ADMIN, Capability::CAP_SETUID]);
            let sets = [CapSet::Permitted, CapSet::Effective, CapSet::Inheritable, CapSet::Ambient];
            let raised = sets.into_iter().find(|set| {
                let _ = caps::set(None, *set, &wanted);
                caps::read(None, *set).is_ok_and(|now| now.contains(&Capability::CAP_SYS_ADMIN))
            });
            match raised {
                Some(set) => Verdict::Allowed(format!("{set:?} was raised")),
                None => Verdict::Refused("no effect".to_owned()),
            }
        },
    },
    Attempt {
        name: "raise-ambient",
        what: "raise an ambient capability for programs that are started",
        group: Privileges,
        barrier: SandboxOrUid,
        act: |_| {
            const SYS_ADMIN: usize = 21;
            try_call(libc::SYS_prctl, [signed(libc::PR_CAP_AMBIENT), 2, SYS_ADMIN, 0, 0])
        },
    },
    Attempt {
        name: "securebits",
        what: "undo the securebits",
        group: Privileges,
        barrier: SandboxOrUid,
        act: |_| try_call(libc::SYS_prctl, [signed(libc::PR_SET_SECUREBITS), 0, 0, 0, 0]),
    },
    Attempt {
        name: "dumpable",
        what: "become readable for others of the same uid",
        group: Privileges,
        barrier: Sandbox,
        act: |_| try_call(libc::SYS_prctl, [signed(libc::PR_SET_DUMPABLE), 1, 0, 0, 0]),
    },
    Attempt {
        name: "new-user-namespace",
        what: "make a user namespace, in which it is root",
        group: Privileges,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_unshare, [NEW_USER]),
    },
    Attempt {
        name: "other-namespaces",
        what: "make any other namespace",
        group: Privileges,
        barrier: Everywhere,
        act: |_| worst(OTHER_NAMESPACES.map(|kind| try_call(libc::SYS_unshare, [kind]))),
    },
    Attempt {
        name: "clone-user-namespace",
        what: "start a process in a user namespace of its own",
        group: Privileges,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_clone, [NEW_USER_AND_NOT]),
    },
    Attempt {
        name: "clone3",
        what: "start a process in a way that filters cannot look into",
        group: Privileges,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_clone3, [0, 0]),
    },
    Attempt {
        name: "enter-namespace",
        what: "enter another process's namespace",
        group: Privileges,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_setns, [NO_FD, 0]),
    },
    Attempt {
        name: "mount",
        what: "mount",
        group: Privileges,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_mount, [0, 0, 0, 0, 0]),
    },
    Attempt {
        name: "unmount",
        what: "unmount",
        group: Privileges,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_umount2, [NOWHERE, 0]),
    },
    Attempt {
        name: "new-mount-calls",
        what: "mount in the new way: fsopen, open_tree, move_mount, mount_setattr",
        group: Privileges,
        barrier: Everywhere,
        act: |_| {
            // The first ends the process where it is on the kill list.
            worst([
                try_call(libc::SYS_fsopen, [NOWHERE, 0]),
                try_call(libc::SYS_open_tree, [NO_FD, NOWHERE, 0]),
                try_call(libc::SYS_move_mount, [NO_FD, NOWHERE, NO_FD, NOWHERE, 0]),
                try_call(libc::SYS_mount_setattr, [NO_FD, NOWHERE, 0, 0, 0]),
            ])
        },
    },
    Attempt {
        name: "chroot",
        what: "change its root directory",
        group: Privileges,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_chroot, [address(c"/")]),
    },
    Attempt {
        name: "pivot-root",
        what: "change everybody's root directory",
        group: Privileges,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_pivot_root, [NOWHERE, NOWHERE]),
    },
];
