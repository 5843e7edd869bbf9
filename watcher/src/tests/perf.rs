use super::*;
use common::message::*;
fn sh(s: &str) {
    assert!(std::process::Command::new("sh").arg("-c").arg(s).status().unwrap().success());
}
#[test]
fn mounts() {
    let mut bench = Bench::prepared(Switches::default(), &[], |b| {
        b.mkdir("a/sub");
        b.mkdir("b");
        b.mkdir("m/under");
        sh(&format!(
            "mount --bind {0}/a {0}/b; mount -t tmpfs t {0}/m; mkdir -p {0}/m/x/y",
            b.at("").display()
        ));
    });
    assert_eq!(bench.watcher.roots[0].needed(), 8);
    bench.write("a/sub/f");
    bench.until_dirty("a/sub/f", Dirt::Touched);
    bench.until_dirty("b/sub/f", Dirt::Touched);
    bench.write("m/x/y/f");
    bench.until_dirty("m/x/y/f", Dirt::Touched);
    bench.settle("1");
    bench.taken();
    bench.rename("b/sub", "a/sub2".replace("a/", "b/").as_str());
    bench.until_dirty("b/sub2", Dirt::Deep);
    bench.until_dirty("a/sub2", Dirt::Deep);
    bench.write("a/sub2/f");
    bench.until_dirty("a/sub2/f", Dirt::Touched);
    bench.until_dirty("b/sub2/f", Dirt::Touched);
    bench.settle("2");
    eprintln!("{:?}", bench.taken());
    sh(&format!("umount {0}/m; umount {0}/b", bench.at("").display()));
    bench.settle("3");
    eprintln!("{:?} {:?}", bench.seen, bench.watcher.roots[0].needed());
    bench.write("m/under/f");
    bench.until_dirty("m/under/f", Dirt::Touched);
}
#[test]
fn root_mounts() {
    let mut bench = Bench::of(&["root"], Switches::default(), &[]);
    bench.mkdir("");
    sh(&format!("mount -t tmpfs t {0}; mkdir -p {0}/x/y", bench.at("").display()));
    bench.until(|s| s.iter().any(|r| matches!(r, WatcherReport::Watching { .. })));
    sh(&format!("umount {0}", bench.at("").display()));
    bench.until(|s| s.iter().filter(|r| matches!(r, WatcherReport::Watching { .. })).count() == 2);
    eprintln!("{:?}", bench.seen);
    bench.seen.clear();
    sh(&format!("mount -t tmpfs t {0}; mkdir -p {0}/x/y", bench.at("").display()));
    let t = Instant::now();
    let deadline = t + Duration::from_secs(140);
    while !bench.seen.iter().any(|r| matches!(r, WatcherReport::Watching { .. })) {
        assert!(Instant::now() < deadline);
        bench.watcher.turn(Duration::MAX).unwrap();
        bench.receive();
    }
    eprintln!("{:?} after {:?}", bench.seen, t.elapsed());
    sh(&format!("umount {0}", bench.at("").display()));
}
