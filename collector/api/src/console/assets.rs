//! The style sheet and the sign of the console, embedded in the binary. Their URL names their content, so that a browser
//! keeps them for good and never shows a page with an old style.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    url: String,
}

static ASSETS: LazyLock<[Asset; 2]> = LazyLock::new(|| {
    [
        asset("console.css", "text/css; charset=utf-8", include_bytes!("../../../../dashboards/console/assets/console.css")),
        asset("beffroi.svg", "image/svg+xml", include_bytes!("../../../../dashboards/console/assets/beffroi.svg")),
    ]
});

fn asset(name: &'static str, kind: &'static str, bytes: &'static [u8]) -> Asset {
    /// Bytes of the hash in a URL: enough to tell versions apart.
    const MARK: usize = 8;
    Asset { name, kind, bytes, url: format!("/assets/{}/{name}", hex::encode(&Sha256::digest(bytes)[..MARK])) }
}

/// Where an asset stands; empty for one that does not exist.
pub(crate) fn url(name: &str) -> &'static str {
    ASSETS.iter().find(|asset| asset.name == name).map_or("", |asset| &asset.url)
}

/// An asset. An old mark gets what there is now, but is not told to keep it.
pub(crate) async fn serve(Path((mark, name)): Path<(String, String)>) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else { return StatusCode::NOT_FOUND.into_response() };
    let keep = if asset.url == format!("/assets/{mark}/{name}") { "public, max-age=31536000, immutable" } else { "no-store" };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(keep)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, asset.bytes).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_asset_is_kept_for_good_under_its_own_mark_only() {
        let path = |url: &str| {
            let mut parts = url.trim_start_matches("/assets/").split('/').map(str::to_owned);
            Path((parts.next().unwrap(), parts.next().unwrap()))
        };
        let cached = serve(path(url("console.css"))).await;
        assert_eq!(cached.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        let old = serve(path("/assets/0000/console.css")).await;
        assert_eq!(
            (old.status(), &old.headers()[header::CACHE_CONTROL]),
            (StatusCode::OK, &HeaderValue::from_static("no-store"))
        );
        assert_eq!(serve(path("/assets/0000/../../etc/passwd")).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(url("nothing.js"), "");
    }
}
