/* Detects an EXIF orientation other than upright. Browsers apply it, and so do models of `petbox
   export`, but others ignore it. */

// JPEG, PNG and WebP spell the name differently. A TIFF header follows within a few bytes.
const EXIF = /(?:Exif|eXIf|EXIF)[^]{0,8}?(II\*\0|MM\0\*)/g;
const ORIENTATION = 0x0112;

export function is_rotated(bytes) {
    const text = new TextDecoder('latin1').decode(bytes); // one character a byte
    return [...text.matchAll(EXIF)].some((match) => {
        const start = match.index + match[0].length - match[1].length;
        return has_rotation(new DataView(bytes.buffer, start), match[1].startsWith('II'));
    });
}

function has_rotation(tiff, little_endian) {
    try {
        const directory = tiff.getUint32(4, little_endian);
        const count = tiff.getUint16(directory, little_endian);
        for (let i = 0; i < count; i++) {
            const entry = directory + 2 + 12 * i;
            if (tiff.getUint16(entry, little_endian) === ORIENTATION) {
                const orientation = tiff.getUint16(entry + 8, little_endian);
                return orientation >= 2 && orientation <= 8;
            }
        }
        return false;
    } catch (e) {
        return true; // Browsers differ on broken EXIF, so the image is drawn again to be safe.
    }
}
