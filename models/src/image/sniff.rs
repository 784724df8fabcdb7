//! What kind of file is this? By content; the name of a file says nothing.

use ::image::ImageFormat;

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Read by `decode`.
    Picture(ImageFormat),
    /// Known, deliberately not read: its name, and what to do instead.
    Refused {
        name: &'static str,
        hint: &'static str,
    },
    Unknown,
}

const AS_PNG: &str = "save the picture as PNG, JPEG or WebP";
const AS_LDR: &str = "tone-map the picture and save it as PNG or JPEG: a texture needs colours between 0 and 1";

/// `head` is the start of the file; 64 bytes are enough.
pub fn sniff(head: &[u8]) -> Kind {
    let refused = |name, hint| Kind::Refused { name, hint };
    match head {
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Kind::Picture(ImageFormat::Png),
        [0xff, 0xd8, 0xff, ..] => Kind::Picture(ImageFormat::Jpeg),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Kind::Picture(ImageFormat::WebP),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Kind::Picture(ImageFormat::Gif),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Kind::Picture(ImageFormat::Tiff),
        [b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..] => Kind::Picture(ImageFormat::Tiff),
        // "BM", then a header size that BMP knows at byte 14.
        [b'B', b'M', _, _, _, _, _, _, _, _, _, _, _, _, 12..=124, 0, 0, 0, ..] => Kind::Picture(ImageFormat::Bmp),
        [b'#', b'?', b'R', b'A', b'D', b'I', b'A', b'N', b'C', b'E', ..] | [b'#', b'?', b'R', b'G', b'B', b'E', ..] => {
            refused("a Radiance HDR picture", AS_LDR)
        }
        [0x76, 0x2f, 0x31, 0x01, ..] => refused("an OpenEXR picture", AS_LDR),
        [b'P', b'F' | b'f', b'\n' | b'\r' | b' ', ..] => refused("a float map (PFM)", AS_LDR),
        [b'P', b'1'..=b'7', b'\n' | b'\r' | b' ' | b'\t', ..] => refused("a Netpbm picture", AS_PNG),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', ..] => refused("an AVIF picture", AS_PNG),
        [_, _, _, _, b'f', b't', b'y', b'p', b'h' | b'm', b'e' | b'i', ..] => refused("a HEIC picture", AS_PNG),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', ..] => refused("a JPEG XL picture", AS_PNG),
        [0, 0, 0, 12, b'j', b'P', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => refused("a JPEG 2000 picture", AS_PNG),
        [b'8', b'B', b'P', b'S', ..] => refused("a Photoshop document", AS_PNG),
        [b'%', b'P', b'D', b'F', ..] => refused("a PDF document", AS_PNG),
        [b'D', b'D', b'S', b' ', ..] => refused("a DDS texture", AS_PNG),
        [0, 0, 1 | 2, 0, ..] if head.len() > 5 && head[5] == 0 && head[4] > 0 => refused("an icon", AS_PNG),
        [b'g', b'l', b'T', b'F', ..] => {
            refused("a GLB model", "give a picture of the object, or use recipe optimize, which reads meshes")
        }
        _ if is_svg(head) => refused("an SVG drawing", AS_PNG),
        _ => Kind::Unknown,
    }
}

fn is_svg(head: &[u8]) -> bool {
    let text = head.trim_ascii_start();
    text.starts_with(b"<svg") || (text.starts_with(b"<?xml") && text.windows(4).any(|w| w == b"<svg"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        assert_eq!(sniff(b"\xff\xd8\xff\xe0"), Kind::Picture(ImageFormat::Jpeg));
        assert_eq!(sniff(b"RIFF\x10\0\0\0WEBPVP8 "), Kind::Picture(ImageFormat::WebP));
        assert!(matches!(sniff(b"#?RADIANCE\n"), Kind::Refused { name: "a Radiance HDR picture", .. }));
        assert!(matches!(sniff(b"\0\0\0 ftypavif"), Kind::Refused { name: "an AVIF picture", .. }));
        assert!(matches!(sniff(b"  <svg xmlns="), Kind::Refused { .. }));
        assert_eq!(sniff(b""), Kind::Unknown);
        assert_eq!(sniff(b"BM is a greeting"), Kind::Unknown);
    }
}
