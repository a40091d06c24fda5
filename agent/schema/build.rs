//! Compiles the protobuf contracts with protox (no protoc needed) at build time.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/beffroi/v1/batch.proto", "proto/beffroi/v1/down.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
