//! Form fields of a `multipart/form-data` body, the way the `clickhouse` crate sends a query with bound parameters.
//!
//! Owns nothing; works on a body whose size was already limited. Files in the form (ClickHouse's external tables) are
//! refused, as is anything malformed, with a sentence saying what.

/// More fields than any query needs parameters.
const FIELDS_MAX: usize = 256;

/// The boundary, when the content type is a multipart form.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let parameter = parameters.split(';').map(str::trim).find_map(|p| p.strip_prefix("boundary="))?;
    Some(parameter.trim_matches('"'))
}

/// The (name, value) fields of the form.
pub(super) fn fields(body: &[u8], boundary: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
    let opening = format!("--{boundary}");
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(opening.as_bytes()).ok_or("the form does not begin with its boundary")?;
    let mut fields = Vec::new();
    while !rest.starts_with(b"--") {
        rest = rest.strip_prefix(b"\r\n").ok_or("a boundary is not followed by a line end")?;
        let end = find(rest, delimiter.as_bytes()).ok_or("the form's last boundary is missing")?;
        fields.push(field(&rest[..end])?);
        if fields.len() > FIELDS_MAX {
            return Err(format!("the form has more than {FIELDS_MAX} fields"));
        }
        rest = &rest[end + delimiter.len()..];
    }
    Ok(fields)
}

fn field(part: &[u8]) -> Result<(String, Vec<u8>), String> {
    let blank = find(part, b"\r\n\r\n").ok_or("a form field has no blank line after its header")?;
    let header = std::str::from_utf8(&part[..blank]).map_err(|_| "a form field's header is not UTF-8")?;
    if header.contains("filename=") {
        return Err("files in the form (external tables) are not supported here".to_owned());
    }
    let name = header.split("name=\"").nth(1).and_then(|after| after.split('"').next());
    let name = name.ok_or("a form field has no name")?;
    Ok((name.to_owned(), part[blank + 4..].to_vec()))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_byte_for_byte() {
        let body = b"--B\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {x:String}\r\n--B\r\nContent-Disposition: form-data; name=\"param_x\"\r\n\r\n\r\n\xff--\r\n--B--\r\n";
        let fields = fields(body, "B").unwrap();
        assert_eq!(fields[0], ("query".into(), b"SELECT {x:String}".to_vec()));
        assert_eq!(fields[1], ("param_x".into(), b"\r\n\xff--".to_vec()));
    }

    #[test]
    fn a_broken_form_is_refused_at_every_length() {
        let body = b"--B\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\nx\r\n--B--";
        for length in 0..body.len() - 1 {
            assert!(fields(&body[..length], "B").is_err(), "length {length}");
        }
        assert_eq!(fields(body, "B").unwrap().len(), 1);
    }

    #[test]
    fn the_boundary_is_taken_from_forms_only() {
        assert_eq!(boundary("multipart/form-data; boundary=\"a b\""), Some("a b"));
        assert_eq!(boundary("text/plain; boundary=x"), None);
    }
}
