//! Compiles the kernel probes. Needs clang 14 or newer; the kernel of the build machine does not matter (CO-RE).

use std::env;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

const PROBES: [&str; 5] = ["calls", "exec", "file", "net", "uring"];

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    // Debian keeps the architecture's headers in a folder of their own, which `-target bpf` does not search.
    let headers = format!("-I/usr/include/{arch}-linux-gnu");
    for probe in PROBES {
        let source = format!("bpf/{probe}.bpf.c");
        let mut builder = SkeletonBuilder::new();
        builder.source(&source).obj(out.join(format!("{probe}.bpf.o")));
        builder.clang_args([headers.as_str(), "-Wall", "-Werror", "-mcpu=v3"]);
        if let Err(error) = builder.build() {
            // A build script has no other way to refuse.
            panic!("{source} cannot be compiled: {error:?}\nIs clang (14 or newer) with its BPF target installed?");
        }
    }
}
