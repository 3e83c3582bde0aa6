//! Converts `openapi.yaml` to the JSON that the function returns.

use std::{env, error::Error, fs, path::Path};

#[expect(
    clippy::disallowed_methods,
    reason = "cargo says by its environment where a build script writes"
)]
fn main() -> Result<(), Box<dyn Error>> {
    let yaml = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi.yaml");
    println!("cargo::rerun-if-changed={}", yaml.display());
    let document: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(yaml)?)?;
    let json = Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join("openapi.json");
    fs::write(json, document.to_string())?;
    Ok(())
}
