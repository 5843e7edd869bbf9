//! What a large tree costs. Run by hand: prints figures.

use super::*;

use std::time::Instant;

const DIRECTORIES: u64 = 20_000;
const EACH: u64 = 49;

fn memory(field: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

fn pass(bench: &mut Bench, salt: u64, commit_each: u64) {
    let top: Vec<_> = (0..DIRECTORIES).map(|n| (format!("directory-{n:05}"), directory(n + 1))).collect();
    let mut after: Option<Vec<u8>> = None;
    for part in top.chunks(1000) {
        let entries: Vec<_> = part.iter().map(|(name, stamp)| (name.clone().into_bytes(), *stamp)).collect();
        let upto = entries.last().map(|(name, _)| name.clone());
        let op = NameOp::Listing {
            directory: RelPath::root(),
            after: after.take(),
            upto: upto.clone(),
            entries,
            purpose: Purpose::Compare,
        };
        after = upto;
        assert_eq!(bench.names(0, &[op]).len(), 0);
    }
    for (n, (name, _)) in top.iter().enumerate() {
        let n = n as u64;
        let entries: Vec<_> =
            (0..EACH).map(|f| (format!("some-file-{f:04}.dat"), file(n * 100 + f, salt + f))).collect();
        let entries: Vec<_> = entries.iter().map(|(name, stamp)| (name.as_str(), *stamp)).collect();
        assert_eq!(bench.names(0, &[listing(name, &entries, Purpose::Compare)]).len(), 0);
        if n % commit_each == commit_each - 1 {
            bench.commit();
        }
    }
}

#[test]
#[ignore = "prints figures"]
fn a_million_names() {
    let mut bench = Bench::new(slice(&["/t"], &[(0, "r")]));
    bench.edit(&[Edit::Root(TreeId(0), root(1))]);
    let tell = |bench: &mut Bench, what: &str, run: &mut dyn FnMut(&mut Bench)| {
        let start = Instant::now();
        run(bench);
        let bytes = fs::metadata(bench.at()).unwrap().len();
        println!("{what}: {:?}, peak {}, file {bytes}", start.elapsed(), memory("VmHWM"));
    };
    tell(&mut bench, "learned", &mut |bench| pass(bench, 0, 2000));
    tell(&mut bench, "listed", &mut |bench| {
        assert_eq!(bench.store().listed(TreeId(0), &RelPath::root()), DIRECTORIES * (EACH + 1));
    });
    tell(&mut bench, "committed", &mut Bench::commit);
    tell(&mut bench, "compared", &mut |bench| pass(bench, 0, u64::MAX));
    tell(&mut bench, "1000 commits of 10 edits", &mut |bench| {
        for n in 0..1000 {
            let edits: Vec<_> = (0..10)
                .map(|k| Edit::Pending(0, path(&format!("directory-{:05}/{k}", n * 20)), Some(pending(""))))
                .collect();
            bench.edit(&edits);
            bench.commit();
        }
    });
    let none: Vec<_> = (0..10_000)
        .map(|n| Edit::Pending(0, path(&format!("directory-{:05}/{}", n / 10 * 20, n % 10)), None))
        .collect();
    tell(&mut bench, "10000 edits", &mut |bench| bench.edit(&none));
    tell(&mut bench, "1000 commits of 10 names", &mut |bench| {
        for n in 0..1000_u64 {
            let ops: Vec<_> = (0..10)
                .map(|k| {
                    NameOp::Entry(path(&format!("directory-{:05}/some-file-{k:04}.dat", n * 20)), file(k, 7))
                })
                .collect();
            bench.names(0, &ops);
            bench.commit();
        }
    });
    tell(&mut bench, "closed and opened", &mut |bench| {
        bench.store = None;
        bench.open().unwrap();
    });
    tell(&mut bench, "copied, killed and opened", &mut |bench| {
        bench.kill();
    });
    tell(&mut bench, "all in one transaction forgotten", &mut |bench| {
        bench.edit(&[Edit::Root(TreeId(0), root(2))]);
        bench.commit();
    });
    tell(&mut bench, "learned in one transaction", &mut |bench| {
        pass(bench, 0, u64::MAX);
        bench.commit();
    });
}
