//! Writes valid inputs to `corpus/<target>/` beside the manifest.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (i, (target, bytes)) in tacit_fuzz::seeds()?.into_iter().enumerate() {
        std::fs::create_dir_all(corpus.join(target))?;
        std::fs::write(corpus.join(target).join(format!("seed-{i:02}")), bytes)?;
    }
    Ok(())
}
