use super::*;
use std::collections::BTreeSet;

const AREAS: [Area; 7] =
    [Area::Watcher, Area::Keeper, Area::Page, Area::Syncer, Area::Program, Area::Plugin, Area::Command];

#[test]
fn names_are_unique() {
    let names: Vec<&str> = all().map(|attempt| attempt.name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    for name in names {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
        assert_eq!(find(name).map(|found| found.name), Some(name));
    }
    for group in Group::ALL {
        assert!(all().any(|attempt| attempt.group == group), "{group:?}");
    }
}

/// What a refusal is where: the whole table of barriers.
#[test]
fn what_must_be_refused_where() {
    use Expected::{Permitted, Refused, Residual};
    for (name, own, shared_command) in [
        ("read-other-root", [Refused, Refused, Refused, Refused, Refused, Refused, Permitted], Permitted),
        ("read-shadow", [Refused; 7], Permitted),
        ("bpf", [Refused; 7], Refused),
        ("exec", [Refused, Refused, Refused, Permitted, Permitted, Refused, Permitted], Permitted),
        ("watch-etc", [Residual, Refused, Refused, Refused, Refused, Refused, Permitted], Permitted),
        ("any-socket", [Refused, Refused, Refused, Permitted, Permitted, Permitted, Permitted], Permitted),
        ("open-path", [Permitted, Refused, Refused, Permitted, Permitted, Permitted, Permitted], Permitted),
        ("stat-shadow", [Residual; 7], Residual),
    ] {
        let attempt = find(name).unwrap();
        assert_eq!(AREAS.map(|area| attempt.expected(area, Uid::Own)), own, "{name}");
        assert_eq!(attempt.expected(Area::Command, Uid::Shared), shared_command, "{name}");
        for area in [Area::Watcher, Area::Keeper, Area::Page, Area::Syncer, Area::Program, Area::Plugin] {
            assert_eq!(attempt.expected(area, Uid::Shared), attempt.expected(area, Uid::Own), "{name}");
        }
    }
}

#[test]
fn what_errors_mean() {
    for refused in [Errno::EPERM, Errno::EACCES, Errno::ENOSYS, Errno::EROFS, Errno::EAFNOSUPPORT] {
        assert!(matches!(judge(refused), Verdict::Refused(_)), "{refused:?}");
    }
    for through in [Errno::EFAULT, Errno::EINVAL, Errno::EBADF, Errno::ECONNREFUSED, Errno::ENOENT] {
        assert!(matches!(judge(through), Verdict::Allowed(_)), "{through:?}");
    }
    let [refused, allowed, nothing] = [
        Verdict::Refused("EPERM".to_owned()),
        Verdict::Allowed("it was done".to_owned()),
        Verdict::NotApplicable("nothing".to_owned()),
    ];
    assert_eq!(worst([refused.clone(), allowed.clone(), nothing.clone()]), allowed);
    assert_eq!(worst([nothing.clone(), refused.clone(), nothing]), refused);
    assert!(matches!(worst([]), Verdict::NotApplicable(_)));
}
