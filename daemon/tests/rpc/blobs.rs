//! Bytes in and out, and names that are no names.

use std::{
    fs,
    io::{Read, Write},
};

use meshkiln_models::slot::sha256_hex;
use meshkilnd::rpc::limits;

use crate::support::{TestServer, read_answer, request, wait_until};

fn bytes(n: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..n).map(|_| random.u8(..)).collect()
}

#[test]
fn what_is_put_comes_back() {
    let server = TestServer::start();
    let content = bytes(700_000);
    let path = format!("/blob/{}", sha256_hex(&content));
    assert_eq!(server.good("GET", &path, &[], b"").status, 404);
    let put = server.good("PUT", &path, &[], &content);
    assert_eq!((put.status, &put.json()["bytes"]), (201, &700_000.into()));
    assert_eq!(server.good("PUT", &path, &[], &content).status, 200, "again");

    let got = server.good("GET", &path, &[], b"");
    assert!(got.status == 200 && got.body == content);
    assert_eq!(got.headers["content-type"], "application/octet-stream");
    assert_eq!(got.headers["content-disposition"], "attachment");
    assert_eq!(got.headers["x-content-type-options"], "nosniff");
    assert_eq!(got.headers["accept-ranges"], "bytes");
    let etag = got.headers["etag"].clone();
    assert_eq!(etag, format!("\"{}\"", sha256_hex(&content)));

    let head = server.good("HEAD", &path, &[], b"");
    assert_eq!((head.status, head.headers["content-length"].as_str()), (200, "700000"));
    assert_eq!(server.good("GET", &path, &[("If-None-Match", &etag)], b"").status, 304);

    let part = server.good("GET", &path, &[("Range", "bytes=299990-300009")], b"");
    assert!(part.status == 206 && part.body == content[299_990..300_010]);
    assert_eq!(part.headers["content-range"], "bytes 299990-300009/700000");
    let rest = server.good("GET", &path, &[("Range", "bytes=400000-"), ("If-Range", &etag)], b"");
    assert!(rest.status == 206 && rest.body == content[400_000..]);
    let other = server.good("GET", &path, &[("Range", "bytes=400000-"), ("If-Range", "\"x\"")], b"");
    assert!(other.status == 200 && other.body == content);
    let outside = server.good("GET", &path, &[("Range", "bytes=700000-")], b"");
    assert_eq!((outside.status, outside.headers["content-range"].as_str()), (416, "bytes */700000"));

    let empty = format!("/blob/{}", sha256_hex(b""));
    assert_eq!(server.good("PUT", &empty, &[("Content-Length", "0")], b"").status, 201);
    let got = server.good("GET", &empty, &[], b"");
    assert_eq!((got.status, got.body.len()), (200, 0));
}

#[test]
fn uploads_that_are_not_what_they_claim_leave_nothing() {
    let server = TestServer::start();
    let claimed = format!("/blob/{}", sha256_hex(b"claimed"));
    let answer = server.good("PUT", &claimed, &[], b"other");
    assert_eq!(answer.status, 422);
    assert!(answer.json()["message"].as_str().unwrap().contains(&sha256_hex(b"other")));
    let announced = (limits::BLOB_BYTES + 1).to_string();
    assert_eq!(server.good("PUT", &claimed, &[("Content-Length", &announced)], b"").status, 413);
    assert_eq!(server.good("PUT", &claimed, &[("Content-Encoding", "gzip")], b"claimed").status, 415);

    // In pieces, without an announced length; whole, and broken off.
    let own = server.headers();
    let mut headers: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.push(("Transfer-Encoding", "chunked"));
    let head = request("PUT", &claimed, &headers, b"");
    let mut stream = server.connect();
    stream.write_all(&[&head, b"3\r\ncla\r\n".as_slice()].concat()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(server.good("GET", &claimed, &[], b"").status, 404);
    let whole = [&head, b"3\r\ncla\r\n4\r\nimed\r\n0\r\n\r\n".as_slice()].concat();
    assert_eq!(server.send(&whole).status, 201);
    assert_eq!(server.good("GET", &claimed, &[], b"").body, b"claimed");

    let temps = server.daemon.blobs.dir().join("tmp");
    wait_until(|| fs::read_dir(&temps).unwrap().count() == 0);
}

#[test]
fn a_body_without_end_is_cut_off() {
    let server = TestServer::start();
    let path = format!("/blob/{}", sha256_hex(b"x"));
    let own = server.headers();
    let mut headers: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.push(("Transfer-Encoding", "chunked"));
    let mut stream = server.connect();
    stream.write_all(&request("PUT", &path, &headers, b"")).unwrap();
    let mut piece = format!("{:x}\r\n", 1 << 20).into_bytes();
    piece.extend(vec![0; 1 << 20]);
    piece.extend(b"\r\n");
    let mut sent = 0;
    while sent <= limits::BLOB_BYTES + (8 << 20) && stream.write_all(&piece).is_ok() {
        sent += 1 << 20;
    }
    // The answer, or a reset because we went on sending.
    if let Ok(answer) = read_answer(&mut stream, false) {
        assert_eq!(answer.status, 413);
    }
    assert_eq!(server.good("GET", &path, &[], b"").status, 404);
}

#[test]
fn five_hundred_hostile_names_reach_nothing() {
    const SECRET: &str = "secret: outside of the store";
    let server = TestServer::start();
    let blob = server.daemon.blobs.put(b"inside").unwrap().sha256;
    let root = server.dir.path();
    fs::write(root.join("secret.txt"), SECRET).unwrap();
    fs::write(root.join("cache").join("secret.txt"), SECRET).unwrap();
    fs::write(server.daemon.blobs.dir().join("secret.txt"), SECRET).unwrap();

    let targets = [
        "secret.txt",
        "../secret.txt",
        "../../secret.txt",
        "../../../secret.txt",
        "etc/passwd",
        "../../../../../../etc/passwd",
        "/etc/passwd",
        "C:/Windows/win.ini",
        "C:\\Windows\\win.ini",
        "\\\\host\\share\\x",
        "\\\\?\\C:\\x",
        "//host/share/x",
        "file:///etc/passwd",
        "CON",
        "NUL",
        "aux.txt",
        "tmp",
        "tmp/x",
        "x\0y",
        "\u{202e}txt",
        "..;/secret.txt",
        "....//secret.txt",
    ];
    let written: [fn(&str) -> String; 9] = [
        |t| t.to_owned(),
        |t| t.replace("..", "%2e%2e"),
        |t| t.replace("..", "%252e%252e"),
        |t| t.replace('/', "%2f"),
        |t| t.replace('/', "%252f"),
        |t| t.replace('/', "\\"),
        |t| t.replace('/', "%5c"),
        |t| t.replace("..", "%c0%ae%c0%ae"),
        |t| t.replace('\0', "%00"),
    ];
    let mut names: Vec<String> = targets.iter().flat_map(|t| written.iter().map(|write| write(t))).collect();
    for name in names.clone() {
        names.push(format!("{blob}/{name}"));
        names.push(format!("{name}/{blob}"));
    }
    let two = &blob[..2];
    names.extend([
        blob.to_uppercase(),
        format!("{blob}0"),
        blob[1..].to_owned(),
        format!(" {blob}"),
        format!("{blob}%00"),
        format!("{blob}/"),
        format!("{blob}.glb"),
        format!("{two}/{blob}"),
        format!("./{blob}"),
        format!("%2e/{blob}"),
        format!("{blob}%20"),
        format!("{blob}?x"),
        format!("{blob}&x"),
        blob.replace('a', "%61"),
        format!("0x{}", &blob[2..]),
        "0".repeat(64),
        "g".repeat(64),
        "٣".repeat(32),
        "é".repeat(32),
        "x".repeat(5000),
        String::new(),
        "%".to_owned(),
        "%zz".to_owned(),
    ]);
    assert!(names.len() >= 500, "{}", names.len());
    let mut stream = server.connect();
    let own = server.headers();
    let headers: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for (i, name) in names.iter().enumerate() {
        let method = ["GET", "PUT", "HEAD"][i % 3];
        let body: &[u8] = if method == "PUT" { b"x" } else { b"" };
        stream.write_all(&request(method, &format!("/blob/{name}"), &headers, body)).unwrap();
        let answer = read_answer(&mut stream, method == "HEAD").unwrap_or_else(|e| panic!("{name:?}: {e}"));
        assert!(matches!(answer.status, 400 | 404 | 414 | 431), "{method} {name:?}: {}", answer.status);
        assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET), "{name:?} reached a file outside");
        if answer.status != 404 || body.len() + name.len() > 4000 {
            stream = server.connect();
        }
    }
    assert_eq!(server.good("GET", &format!("/blob/{blob}"), &[], b"").body, b"inside");
}

#[test]
#[cfg(unix)]
fn a_link_in_the_store_leads_nowhere() {
    let server = TestServer::start();
    let outside = server.dir.path().join("outside");
    fs::write(&outside, "outside").unwrap();
    let digest = sha256_hex(b"a link");
    let link = server.daemon.blobs.dir().join(&digest[..2]).join(&digest);
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    let path = format!("/blob/{digest}");
    assert_eq!(server.good("GET", &path, &[], b"").status, 404);
    assert_eq!(server.good("PUT", &path, &[], b"a link").status, 201);
    assert_eq!(server.good("GET", &path, &[], b"").body, b"a link");
    assert_eq!(fs::read(&outside).unwrap(), b"outside", "an upload went through the link");
}
