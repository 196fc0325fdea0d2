//! Request bodies on their way to the worker.

use std::io::Write;

use super::*;

/// The payloads of the body frames behind the request.
pub fn body_frames(heard: &[u8]) -> Vec<(Kind, Vec<u8>)> {
    let mut rest = &heard[MESSAGE.len()..];
    let mut frames = Vec::new();
    while let Some((frame, payload, more)) = frame::split(rest).unwrap() {
        frames.push((frame.kind, payload.to_vec()));
        rest = more;
    }
    assert!(rest.is_empty());
    frames
}

#[test]
fn the_body_is_read_when_it_is_asked_for_and_sent_on_to_its_end() {
    let mut client = FakeClient::sending(&[
        Sends::Bytes(b"one "),
        Sends::Bytes(b"two "),
        Sends::NothingYet,
        Sends::NothingYet,
        Sends::Bytes(b"three"),
        Sends::End,
    ]);
    // Two Body frames and a BodyEnd.
    let all = MESSAGE.len() + 3 * frame::HEAD_LEN + 13;
    let pull = Lines::default().frame(Kind::Pull, b"");
    let mut script = pull.said();
    // The rest of the lines comes once everything has been heard.
    script.lines.extend_from_slice(&hello().0);
    let script = TwoActs {
        first: pull.0.len(),
        all,
        script,
    };
    let heard = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let outcome = relay_request(
        &mut Acts(Some(script), heard.clone()),
        &mut client,
        uploading(),
    );
    assert_eq!(outcome, RelayOutcome::Complete(END));
    let frames = body_frames(&heard.borrow());
    assert_eq!(
        frames,
        [
            (Kind::Body, b"one two ".to_vec()),
            (Kind::Body, b"three".to_vec()),
            (Kind::BodyEnd, Vec::new())
        ]
    );
}

/// A worker that says its first lines at once and the others when it has heard `all`.
struct TwoActs {
    first: usize,
    all: usize,
    script: Script,
}

struct Acts(Option<TwoActs>, std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

struct Acting(TwoActs, std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

impl Dial for Acts {
    type Connection = Acting;
    fn dial(&mut self, _: Duration, _: ConnectionChoice) -> Result<Acting, DialError> {
        let acts = self
            .0
            .take()
            .ok_or(DialError::Never(io::ErrorKind::NotFound.into()))?;
        Ok(Acting(acts, self.1.clone()))
    }
    fn keep(&mut self, _: Acting, _: u32) {}
    fn place(&self) -> String {
        String::new()
    }
}

impl Acting {
    fn may_speak(&self) -> bool {
        self.0.script.said < self.0.first || self.0.script.heard.len() >= self.0.all
    }
}

impl WorkerConnection for Acting {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A narrow socket: only some bytes at a time.
        let sent = self.0.script.send(&bytes[..bytes.len().min(5)])?;
        self.1.borrow_mut().extend_from_slice(&bytes[..sent]);
        Ok(sent)
    }
    fn receive(&mut self, into: &mut [u8]) -> io::Result<Received> {
        if !self.may_speak() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.script.piece = if self.0.script.said < self.0.first {
            self.0.first
        } else {
            usize::MAX
        };
        self.0.script.receive(into)
    }
    fn wait(
        &mut self,
        interest: Interest,
        _: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> io::Result<Interest> {
        let ready = Interest {
            from_worker: interest.from_worker && self.may_speak(),
            to_client: false,
            ..interest
        };
        if !ready.from_worker && !ready.to_worker {
            std::thread::sleep(limit.min(Duration::from_millis(1)));
        }
        Ok(ready)
    }
}

#[test]
fn a_body_that_fails_decides_the_status_and_the_worker_is_told() {
    for (failure, status) in [
        (BodyFailure::TooLarge, 413),
        (BodyFailure::Timeout, 408),
        (BodyFailure::ClientGone, 400),
        (BodyFailure::Malformed, 400),
    ] {
        let mut client = FakeClient::sending(&[Sends::Bytes(b"one"), Sends::Fails(failure)]);
        let lines = Lines::default().frame(Kind::Pull, b"").log(b"OSError");
        let (outcome, heard) = play_all([lines.said()], &mut client, uploading());
        assert_eq!(outcome, RelayOutcome::Status(status));
        assert!(client.said("WSGI0126"));
        assert_eq!(client.logged.len(), 1);
        let failed = (Kind::BodyFailed, vec![failure as u8]);
        assert_eq!(
            body_frames(&heard[0]),
            [(Kind::Body, b"one".to_vec()), failed]
        );
    }
}

#[test]
fn a_client_that_stops_sending_has_a_limit_of_its_own() {
    let mut client = FakeClient::sending(&[Sends::Bytes(b"one")]);
    let lines = Lines::default().frame(Kind::Pull, b"");
    let script = lines.said().then(Afterwards::StaysSilent);
    let limits = RelayLimits {
        client: Duration::from_millis(20),
        ..limits()
    };
    let before = Instant::now();
    let request = RelayRequest {
        limits,
        ..uploading()
    };
    assert_eq!(
        play(script, &mut client, request),
        RelayOutcome::Status(408)
    );
    assert!(before.elapsed() < Duration::from_secs(3));
}

#[test]
fn the_pulled_body_and_the_response_move_at_the_same_time() {
    // The worker answers with far more than any socket holds before it reads a byte of the body,
    // and the client reads nothing before it has sent all of its body.
    const SIZE: usize = 700_000;
    let dir = std::env::temp_dir().join(format!("wsgi-duplex-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let worker = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = vec![0; MESSAGE.len()];
        socket.read_exact(&mut request).unwrap();
        let length = SIZE.to_string();
        let head = Lines::default().head(200, &[("Content-Length", &length[..])]);
        socket.write_all(&head.0).unwrap();
        for _ in 0..SIZE / 1000 {
            socket
                .write_all(&Lines::default().data(&[b'r'; 1000]).0)
                .unwrap();
        }
        socket.write_all(&Lines::default().end().0).unwrap();
    });
    let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
    let browser = std::thread::spawn(move || {
        far.write_all(&vec![b'b'; SIZE]).unwrap();
        let mut response = Vec::new();
        far.read_to_end(&mut response).unwrap();
        response.len()
    });
    let mut client = SocketClient {
        socket: near,
        status: 0,
    };
    let limits = RelayLimits {
        silence: Duration::from_secs(10),
        client: Duration::from_secs(10),
        reader: Duration::from_secs(10),
        ..limits()
    };
    let path_bytes = path.to_str().unwrap().as_bytes().to_vec();
    let mut dialer = crate::child::connect::dialer::Dialer {
        path: &path_bytes,
        pool: &crate::child::connect::connection_pool::ConnectionPool::new(1).group(1),
    };
    let outcome = relay_request(
        &mut dialer,
        &mut client,
        RelayRequest {
            limits,
            ..uploading()
        },
    );
    assert_eq!(outcome, RelayOutcome::Complete(END));
    // As httpd closes: a socket closed with something unread resets what was sent before.
    client.socket.set_nonblocking(false).unwrap();
    client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = client.socket.read_to_end(&mut Vec::new());
    drop(client);
    assert_eq!(browser.join().unwrap(), SIZE);
    worker.join().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}

/// A client on a real socket, written to as httpd writes: until it is all gone.
struct SocketClient {
    socket: std::os::unix::net::UnixStream,
    status: u16,
}

impl BodySource for SocketClient {
    fn read_body(&mut self, at_most: usize, into: &mut Vec<u8>) -> BodyRead {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; at_most.min(8000)];
        match self.socket.read(&mut buffer) {
            Ok(0) => BodyRead::Last,
            Ok(len) => {
                into.extend_from_slice(&buffer[..len]);
                BodyRead::Some
            }
            Err(_) => BodyRead::Nothing,
        }
    }
    fn wait_for_body(&self, _: Duration, _: Duration) {
        unreachable!("a worker was asked");
    }
}

impl Client for SocketClient {
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }
    fn interim(&mut self, _: &Head<'_>) {}
    fn head(&mut self, head: &ResponseHead<'_>) {
        self.status = head.status();
    }
    fn error_head(&mut self, _: &ResponseHead<'_>) {}
    fn data(&mut self, pieces: &[&[u8]], _: bool) -> Result<(), Gone> {
        self.socket.set_nonblocking(false).unwrap();
        self.socket.write_all(&pieces.concat()).map_err(|_| Gone)
    }
    fn room(&self) -> Option<usize> {
        os::socket::room_to_send(self.socket.as_fd()).ok()
    }
    fn abandon(&mut self) {
        panic!("it takes what it gets");
    }
    fn is_gone(&self) -> bool {
        false
    }
    fn bytes_sent(&self) -> u64 {
        0
    }
    fn file(&mut self, _: PassedFile, _: u64, _: u64, _: bool) -> Result<FileSent, Gone> {
        Err(Gone)
    }
    fn flush(&mut self) -> Result<(), Gone> {
        Ok(())
    }
    fn break_off(&mut self) {}
    fn log(&mut self, _: Level, _: &[u8]) {}
    fn report(&mut self, failure: &RelayFailure) {
        panic!("{}", failure.text);
    }
}
