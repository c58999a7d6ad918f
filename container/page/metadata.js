/* The model's signatures, from the gateway. */

const ATTRIBUTES = 'X-Amzn-SageMaker-Custom-Attributes';

/* The header that selects one of several models. */
export function model_header(model) {
    return model ? {[ATTRIBUTES]: `tfs-model-name=${model}`} : {};
}

/* Of the default model if none is named. null if the gateway does not show them, or the model is not
   ready. */
export async function load_metadata(model) {
    try {
        const response = await fetch('/metadata', {headers: model_header(model)});
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
