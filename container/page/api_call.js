/* The panel with the response as JSON and the request as curl and boto3, to copy. */

import {copy} from './clipboard.js';
import {boto3, curl} from './snippets.js';
import {needs_upload} from './upload.js';

const MAX_SHOWN = 20000; // characters; Copy copies all of them
const FEEDBACK_MS = 2000;

/* Returns the function that shows the request for an image or, with `json`, of the form. */
export function api_call_panel(panel) {
    const [code, download_note, download, button] =
        ['#code', '#download-note', '#download', '#copy'].map((id) => panel.querySelector(id));
    let text = '';
    let image;
    let timer;

    function show(shown) {
        image = shown;
        const {sent, sent_url, name, changes, json, model} = image.result;
        panel.hidden = !image.result.text;
        if (panel.hidden) {
            return;
        }
        const format = panel.querySelector('input:checked').value;
        const url = changes.length ? '' : image.url;
        const uploads = needs_upload(sent);
        const request = {type: sent.type, file: name, url, json, model, uploads};
        text = format === 'json' ? image.result.text : {curl, boto3}[format](request);
        code.textContent = text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
        const in_file = image.has_file && !changes.length;
        download_note.hidden = format === 'json' || in_file;
        download.href = sent_url;
        download.download = download.textContent = name;
    }

    async function copy_text() {
        try {
            await copy(text);
            button.textContent = 'Copied';
        } catch (e) {
            button.textContent = 'Copy failed';
        }
        clearTimeout(timer);
        timer = setTimeout(() => {
            button.textContent = 'Copy';
        }, FEEDBACK_MS);
    }

    panel.addEventListener('change', () => show(image));
    button.addEventListener('click', copy_text);
    return show;
}
