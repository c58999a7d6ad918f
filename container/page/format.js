/* How numbers and lists are written on the page. */

export function percent(score) {
    return `${Math.floor(100 * score + 1e-6)}%`; // Must not round up to the slider's value.
}

export function dimensions(width, height) {
    return `${width} × ${height}`;
}

export function duration(ms) {
    return ms < 10000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function file_size(bytes) {
    return bytes < 1e6 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/* JSON with each list of numbers on a line, where TensorFlow Serving has a line for each number. */
export function on_one_line(json) {
    return json.replace(/\[\n\s*([^[\]{}"]*[^[\]{}"\s])\n\s*\]/g, // no string has a line end
        (list, numbers) => `[${numbers.replace(/,\s+/g, ', ')}]`);
}
