//! The build script of `crates/httpd`: makes it able to talk to the httpd that is installed here.
//!
//! Two products: Rust declarations generated from httpd's own headers, so that a change of a
//! structure between httpd versions is a change of ours at the next build, and a few lines of C for
//! what the headers offer only as macros. `apxs` says where everything is; when it, a header or
//! libclang is missing, the build stops with the one sentence that mends it.

use std::env;
use std::path::PathBuf;
use std::process::{exit, Command};

/// httpd and APR functions, types and constants the safe layer may name. Everything else of the
/// 1,200 functions the headers drag in stays out.
const FUNCTIONS: &str = "ap_.*|apr_.*|shim_.*";
const TYPES: &str = "ap_.*|apr_.*|module|module_struct|request_rec|conn_rec|server_rec|\
                     process_rec|authn_.*|authz_.*|command_rec|command_struct|cmd_.*|unixd_config_rec";
const VARIABLES: &str = "ap_.*|AP_.*|APR_.*|APLOG_.*|HTTP_.*|OK|DECLINED|DONE|MODULE_MAGIC.*|M_.*|\
                         OR_.*|ACCESS_CONF|RSRC_CONF|EXEC_ON_READ|NOT_IN_.*|GLOBAL_ONLY|OPT_.*|\
                         REQUEST_.*|REMOTE_.*|SATISFY_.*|AUTH[NZ]_.*";

fn main() {
    for watched in [
        "../../build.rs",
        "src/headers.h",
        "src/shim.c",
        "src/shim.h",
    ] {
        println!("cargo:rerun-if-changed={watched}");
    }
    println!("cargo:rerun-if-env-changed=APXS");

    let apxs = env::var("APXS").unwrap_or_else(|_| "apxs".to_owned());
    println!("cargo:rerun-if-changed={}", query(&apxs, "INCLUDEDIR"));
    let flags = compiler_flags(&apxs);

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let builder = bindgen::Builder::default()
        .header("src/headers.h")
        .clang_args(&flags)
        .allowlist_function(FUNCTIONS)
        .allowlist_type(TYPES)
        .allowlist_var(VARIABLES)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .generate_comments(false)
        .derive_debug(false);
    // Without libclang bindgen panics, with a page of advice for its own users.
    std::panic::set_hook(Box::new(|_| {}));
    let generated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.generate()));
    let _ = std::panic::take_hook();
    match generated {
        Ok(Ok(bindings)) => {
            if let Err(error) = bindings.write_to_file(out.join("httpd.rs")) {
                stop(&format!("cannot write the httpd declarations: {error}"));
            }
        }
        Ok(Err(error)) => stop(&format!(
            "cannot read the headers of httpd and APR. Install them, on Debian: apt-get install \
             apache2-dev ({error})"
        )),
        Err(_) => stop(
            "libclang is missing, which reads httpd's headers. Install it, on Debian: apt-get \
             install libclang-dev; or name its directory with the environment variable LIBCLANG_PATH",
        ),
    }

    let mut shim = cc::Build::new();
    for flag in &flags {
        shim.flag(flag);
    }
    shim.file("src/shim.c").warnings(true).extra_warnings(true);
    // httpd's own headers leave hook parameters unused.
    shim.flag_if_supported("-Wno-unused-parameter");
    if let Err(error) = shim.try_compile("wsgi_shim") {
        stop(&format!(
            "cannot compile crates/httpd/src/shim.c ({error}). A C compiler is needed, on Debian: \
             apt-get install gcc libc6-dev"
        ));
    }

    // httpd has both libraries loaded already; naming them lets unit tests use real pools and tables.
    for library in ["apr-1", "aprutil-1"] {
        println!("cargo:rustc-link-lib={library}");
    }
}

/// Preprocessor flags for the headers of this httpd and its APR, without duplicates.
fn compiler_flags(apxs: &str) -> Vec<String> {
    let apr = query(apxs, "APR_CONFIG");
    let apu = query(apxs, "APU_CONFIG");
    let mut flags = vec![format!("-I{}", query(apxs, "INCLUDEDIR"))];
    for (config, option) in [
        (&apr, "--includes"),
        (&apr, "--cppflags"),
        (&apu, "--includes"),
    ] {
        for flag in run(config, &[option]).split_whitespace() {
            if !flags.iter().any(|known| known == flag) {
                flags.push(flag.to_owned());
            }
        }
    }
    flags
}

fn query(apxs: &str, variable: &str) -> String {
    run(apxs, &["-q", variable]).trim().to_owned()
}

fn run(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        Ok(output) => stop(&format!(
            "`{program} {}` failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => stop(&format!(
            "cannot run `{program}` ({error}). It comes with httpd's development files, on Debian: \
             apt-get install apache2-dev; or name it with the environment variable APXS"
        )),
    }
}

fn stop(sentence: &str) -> ! {
    eprintln!("mod_wsgi: {sentence}");
    exit(1)
}
