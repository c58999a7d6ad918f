/* What a file is, by how it begins, whatever it is called. */

const BEGINNINGS = {
    'image/jpeg': /^\xff\xd8\xff/,
    'image/png': /^\x89PNG\r\n\x1a\n/,
    'image/gif': /^GIF8/,
    'image/bmp': /^BM/,
    'image/webp': /^RIFF....WEBP/s,
};

/* One of the types that the model reads; '' for anything else. */
export function type_of(bytes) {
    const head = String.fromCharCode(...bytes.subarray(0, 16));
    return Object.keys(BEGINNINGS).find((type) => BEGINNINGS[type].test(head)) || '';
}
