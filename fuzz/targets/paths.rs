//! What strangers send as a target, to every surface: no panic, and what is accepted can be
//! read in one way.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request};
use http_body_util::Empty;
use libfuzzer_sys::fuzz_target;
use spanner_tower::{Resolver, surface};

static RESOLVERS: LazyLock<Vec<Resolver>> = LazyLock::new(|| {
    let surfaces = surface::built_in().map(|name| surface::named(name).unwrap());
    surfaces
        .map(|surface| Resolver::new(vec![surface]).unwrap())
        .collect()
});

fuzz_target!(|input: (u8, &str)| {
    let (method, target) = input;
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
    ];
    let method = &methods[usize::from(method) % methods.len()];
    for resolver in RESOLVERS.iter() {
        let request = Request::builder().method(method).uri(target);
        let Ok(request) = request.body(Empty::<Bytes>::new()) else {
            return;
        };
        let path = request.uri().path().to_owned();
        if let Some(Ok(_)) = resolver.resolve(request).now_or_never() {
            let segments = || path.split('/').skip(1);
            assert!(!path.contains(['\\', ';']) && !path.contains("%25") && !path.contains("%00"));
            assert!(
                segments().all(|segment| segment != "." && segment != ".."),
                "{path}"
            );
            let last = segments().count() - 1;
            assert!(
                segments().take(last).all(|segment| !segment.is_empty()),
                "{path}"
            );
        }
    }
});
