/* petbox's HTTP API, if the page is deployed before it instead of before a container. */

export const API = document.querySelector('meta[name="api"]').content;
const MIN_SCORE = 0; // All detections, so that the slider decides.

export const ROUTE = API || '/invocations';
export const URL_OF_ROUTE = API ? `${API}?min_score=${MIN_SCORE}` : ROUTE;
export const UPLOAD_FORM = `${API}?upload=1`;

const key_input = document.getElementById('key');

export function key_headers() {
    return key_input.value ? {'X-Api-Key': key_input.value} : {};
}

/* Shows what only one of the two has. */
export function show_api_parts() {
    key_input.parentElement.hidden = !API;
    for (const part of document.querySelectorAll('#format-boto3, [for="format-boto3"]')) {
        part.hidden = Boolean(API);
    }
}
