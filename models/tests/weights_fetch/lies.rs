//! Servers whose answers contradict each other, the catalogue or the protocol.

use meshkiln_models::weights::{WeightsError, fetch};

use crate::{
    ETAG, NAME, World, one, random_bytes,
    server::{Reply, Request, Server, Then, file},
    world,
};

/// What a lying server does, and what the error says.
type Lie = (&'static str, fn(&Request, &[u8]) -> Reply, fn(&WeightsError) -> bool);

#[test]
fn lying_servers_get_an_error_and_leave_nothing() {
    let content = random_bytes(300_000, 3);
    let lies: &[Lie] = &[
        (
            "another length",
            |request, content| file(request, &content[1..], ETAG),
            |error| matches!(error, WeightsError::Lied { what, .. } if what.contains("299999")),
        ),
        (
            "the right length, other bytes",
            |request, content| file(request, &content.iter().map(|byte| byte ^ 1).collect::<Vec<_>>(), ETAG),
            |error| matches!(error, WeightsError::WrongBytes { what: "SHA-256", .. }),
        ),
        (
            "an endless body",
            |_, _| Reply { head: "200 OK\r\nTransfer-Encoding: chunked".into(), body: Vec::new(), then: Then::Endless },
            |error| matches!(error, WeightsError::Lied { what, .. } if what.contains("more than 300000 bytes")),
        ),
        (
            "a body that ends early and says so",
            |_, content| Reply {
                head: "200 OK\r\nTransfer-Encoding: chunked".into(),
                body: [b"1000\r\n", &content[..0x1000], b"\r\n0\r\n\r\n"].concat(),
                then: Then::Close,
            },
            |error| matches!(error, WeightsError::Network { what, .. } if what.contains("4096 of 300000")),
        ),
        (
            "always all of it, never to the end",
            |_, content| {
                file(&Request { path: String::new(), headers: Default::default() }, content, ETAG).cut(200_000)
            },
            |error| matches!(error, WeightsError::Network { .. }),
        ),
        (
            "another range than asked for",
            |request, content| match request.headers.contains_key("range") {
                false => file(request, content, ETAG).cut(100_000),
                true => Reply {
                    head: "206 Partial Content\r\nContent-Length: 300000\r\nContent-Range: bytes 0-299999/300000"
                        .into(),
                    body: content.to_vec(),
                    then: Then::Close,
                },
            },
            |error| matches!(error, WeightsError::Lied { what, .. } if what.contains("from 100000")),
        ),
        (
            "a range of another file",
            |request, content| {
                match request.headers.contains_key("range") {
                false => file(request, content, ETAG).cut(100_000),
                true => Reply {
                    head: "206 Partial Content\r\nETag: \"v2\"\r\nContent-Range: bytes 100000-299999/300000\r\nContent-Length: 200000".into(),
                    body: content[100_000..].to_vec(),
                    then: Then::Close,
                },
            }
            },
            |error| matches!(error, WeightsError::Lied { what, .. } if what.contains("changed between")),
        ),
        (
            "a way out of encryption",
            |_, _| Reply::status("302 Found\r\nLocation: http://cdn.example/model"),
            |error| matches!(error, WeightsError::Address { .. }),
        ),
        (
            "redirects in a circle",
            |request, _| Reply::status(&format!("302 Found\r\nLocation: {}", request.path)),
            |error| matches!(error, WeightsError::Lied { what, .. } if what.contains("redirects more than")),
        ),
        (
            "no",
            |_, _| Reply::status("403 Forbidden"),
            |error| matches!(error, WeightsError::Refused { status: 403, .. }),
        ),
        ("not there", |_, _| Reply::status("404 Not Found"), |error| matches!(error, WeightsError::Refused { .. })),
        (
            "busy",
            |_, _| Reply::status("503 Service Unavailable"),
            |error| matches!(error, WeightsError::Network { .. }),
        ),
        (
            "no range ever",
            |_, _| Reply::status("416 Range Not Satisfiable"),
            |error| matches!(error, WeightsError::Network { .. }),
        ),
        (
            "not even HTTP",
            |_, content| Reply { head: "\r\n\r\n".into(), body: content.to_vec(), then: Then::Close },
            |error| matches!(error, WeightsError::Network { .. }),
        ),
    ];
    for (lie, answer, expected) in lies {
        let (net, served) = (one(&content), content.clone());
        let server = Server::start(move |request| answer(request, &served));
        let world = World { retries: 3, ..world() };
        let error = world.from(net, &server).unwrap_err();
        assert!(expected(&error), "{lie}: {error:?}");
        assert!(!error.hint().is_empty(), "{lie}");
        assert!(!world.has(NAME), "{lie}");
        if matches!(error, WeightsError::Lied { .. } | WeightsError::WrongBytes { .. }) {
            assert!(!world.has("model.safetensors.part"), "{lie}");
        }
        let n = server.requests().len();
        match error {
            WeightsError::Network { .. } => assert_eq!(n, 4, "{lie}"),
            WeightsError::WrongBytes { .. } => assert_eq!(n, 2, "{lie}"),
            _ => assert!(n <= 9, "{lie}: {n} requests"),
        }
        assert!(!fetch::is_here(net, world.folder.path()), "{lie}");
    }
}
