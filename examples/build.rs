//! Compiles the tonic example's protocol, without an installed `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=tonic/open_inference.proto");
    let files = protox::compile(["tonic/open_inference.proto"], ["tonic"])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
