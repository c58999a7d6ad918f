/* The type of a file by its first bytes: file names and browsers can be wrong. */

const SIGNATURES = {
    'image/jpeg': /^\xff\xd8\xff/,
    'image/png': /^\x89PNG\r\n\x1a\n/,
    'image/gif': /^GIF8/,
    'image/bmp': /^BM/,
    'image/webp': /^RIFF....WEBP/s,
};

/* One of the content types that the model decodes, or undefined. */
export function file_type(bytes) {
    const head = String.fromCharCode(...bytes.subarray(0, 16));
    return Object.keys(SIGNATURES).find((type) => SIGNATURES[type].test(head));
}
