//! docs/reliability.md claims nothing without a proof that exists.

use std::fs;
use std::path::Path;

/// Fewer would mean that they are no longer found.
const FEWEST: usize = 30;

#[test]
fn every_claim_has_its_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let document = fs::read_to_string(tests.join("../../docs/reliability.md")).unwrap();
    let named: Vec<&str> =
        document.split('`').skip(1).step_by(2).filter(|words| words.contains(".rs::")).collect();
    for name in &named {
        let (file, test) = name.split_once("::").unwrap();
        let places = [tests.join("faults").join(file), tests.join(file)];
        let source = places.iter().find_map(|place| fs::read_to_string(place).ok());
        let source = source.unwrap_or_else(|| panic!("there is no {file}"));
        assert!(source.contains(&format!("#[test]\nfn {test}()")), "{name} is no test");
    }
    assert!(named.len() >= FEWEST, "only {} tests are named", named.len());
}
