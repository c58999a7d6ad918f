/* Whether a picture file asks, in its EXIF, to be turned before it is looked at. Browsers turn it,
   the model does not. Reads the one number and nothing else. */

const SPELLINGS = ['Exif', 'eXIf', 'EXIF']; // in JPEG, PNG and WebP
const ORIENTATION = 0x0112;
const BETWEEN = 8; // bytes at most between the name and what it names

export function may_be_turned(bytes) {
    return SPELLINGS.some((name) => places(bytes, name).some((at) => asks_to_turn(bytes, at)));
}

function places(bytes, name) {
    const codes = [...name].map((letter) => letter.charCodeAt(0));
    const found = [];
    for (let at = bytes.indexOf(codes[0]); at >= 0; at = bytes.indexOf(codes[0], at + 1)) {
        if (codes.every((code, i) => bytes[at + i] === code)) {
            found.push(at + codes.length);
        }
    }
    return found;
}

function asks_to_turn(bytes, from) {
    for (let at = from; at <= from + BETWEEN; at++) {
        const mark = String.fromCharCode(...bytes.subarray(at, at + 4));
        if (mark === 'II*\0' || mark === 'MM\0*') {
            return is_turn(new DataView(bytes.buffer, bytes.byteOffset + at), mark === 'II*\0');
        }
    }
    return false; // a word that happens to be there
}

function is_turn(exif, little) {
    try {
        const start = exif.getUint32(4, little);
        const count = exif.getUint16(start, little);
        for (let i = 0; i < count; i++) {
            const entry = start + 2 + 12 * i;
            if (exif.getUint16(entry, little) === ORIENTATION) {
                const asked = exif.getUint16(entry + 8, little);
                return asked >= 2 && asked <= 8;
            }
        }
        return false;
    } catch (e) {
        return true; // broken: who knows what the browser makes of it
    }
}
