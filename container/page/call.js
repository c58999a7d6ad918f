/* The panel with the call that was made: as JSON, curl or boto3, to look at and to copy. */

import {copy} from './clipboard.js';
import {boto3, curl} from './snippets.js';

const MOST_SHOWN = 20000; // characters; all of it is copied
const SAID_FOR = 2000; // ms

/* Gives what shows the call of a picture. */
export function call_panel(panel) {
    const [text, save_first, save, button] =
        ['#text', '#save-first', '#save', '#copy'].map((name) => panel.querySelector(name));
    let whole = '';
    let picture;
    let timer;

    function show(now) {
        picture = now;
        panel.hidden = !picture.text;
        if (panel.hidden) {
            return;
        }
        const form = panel.querySelector('input:checked').value;
        const lost = !picture.saved || picture.changes.length > 0; // it is in no file as it was sent
        const call = {
            type: picture.sent.type,
            file: picture.name,
            address: picture.changes.length ? '' : picture.address,
        };
        whole = {json: () => picture.text, curl: () => curl(call), boto3: () => boto3(call)}[form]();
        text.textContent = whole.length > MOST_SHOWN ? `${whole.slice(0, MOST_SHOWN)}…` : whole;
        save_first.hidden = form === 'json' || !lost;
        save.href = picture.sent_at;
        save.download = picture.name;
        save.textContent = picture.name;
    }

    async function copied() {
        let said = 'Copied';
        try {
            await copy(whole);
        } catch (e) {
            said = 'Not copied: select the text';
        }
        button.textContent = said;
        clearTimeout(timer);
        timer = setTimeout(() => {
            button.textContent = 'Copy';
        }, SAID_FOR);
    }

    panel.addEventListener('change', () => show(picture));
    button.addEventListener('click', copied);
    return show;
}
