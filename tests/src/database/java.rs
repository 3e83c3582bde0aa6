//! Amazon's DynamoDB Local, a Java program.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// The folder into which `tests/setup.sh dynamodb-local` installs it.
const LIBRARIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dynamodb-local/lib");
/// The file of its output.
const OUTPUT: &str = "dynamodb-local.log";

/// Ends Java when the input of this shell ends, which happens with the process of the tests, even if that is killed.
const UNTIL_THE_END: &str = r#"java "$@" & read -r _; kill "$!""#;

/// The time in which it starts, sufficient on a busy machine.
const ATTEMPTS: usize = 1200;
const PAUSE: Duration = Duration::from_millis(100);

/// Starts it in memory, on a free port, and returns its URL.
#[expect(
    clippy::expect_used,
    reason = "a test without its database has nothing to prove"
)]
pub(super) fn start() -> (String, Child) {
    assert!(
        Path::new(LIBRARIES).join(".stamp").exists(),
        "DynamoDB Local is not installed; run tests/setup.sh dynamodb-local"
    );
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    fs::create_dir_all(&target).expect("the folder of the build");
    let output = File::create(target.join(OUTPUT)).expect("a file for the output");
    let errors = output.try_clone().expect("a file for the output");
    let java = Command::new("sh")
        .args(["-c", UNTIL_THE_END, "sh"])
        // It serves for a minute or so: time that the compiler spends on more than the first tier is lost.
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g"])
        .arg(format!("-Djava.library.path={LIBRARIES}"))
        .args(["-cp", &format!("{LIBRARIES}/*")])
        .arg("com.amazonaws.services.dynamodbv2.local.main.ServerRunner")
        // One database for all access keys and regions: each other one starts dozens of threads.
        .args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port"])
        .arg(port.to_string())
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .expect("a shell");
    (format!("http://127.0.0.1:{port}"), java)
}

/// Waits until it answers.
pub(super) fn until(answers: impl Fn() -> bool) {
    for _ in 0..ATTEMPTS {
        if answers() {
            return;
        }
        thread::sleep(PAUSE);
    }
    #[expect(
        clippy::panic,
        reason = "a test without its database has nothing to prove"
    )]
    {
        panic!("DynamoDB Local did not start; target/{OUTPUT} has its output");
    }
}
