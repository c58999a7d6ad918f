/* The model's signatures, from the gateway. */

/* null if the gateway does not show them, or the model is not ready. */
export async function load_metadata() {
    try {
        const response = await fetch('/metadata');
        const metadata = response.ok && await response.json();
        return metadata && Object.keys(metadata.signatures).length ? metadata : null;
    } catch (e) {
        return null;
    }
}

export function is_detector({signatures}) {
    return Object.values(signatures).some(({outputs}) => outputs.detection_boxes);
}

/* float32 [N, 4] */
export function tensor_text({dtype, shape}) {
    return shape ? `${dtype} [${shape.map((size) => size ?? 'N').join(', ')}]` :
        `${dtype} of any shape`;
}
