/* What happens when: pictures come in, each is prepared, asked about and shown. The modules it calls
   know nothing of one another's state; all of it is here. */

import {detections} from './answer.js';
import {ask} from './asking.js';
import {draw_boxes} from './boxes.js';
import {call_panel} from './call.js';
import {camera} from './camera.js';
import {list_facts} from './facts.js';
import {hide_findings, list_findings} from './findings.js';
import {chosen, dropped, pasted} from './intake.js';
import {names} from './names.js';
import {percent} from './percent.js';
import {LONGEST, prepare} from './prepare.js';
import {draw_strip} from './strip.js';
import {summary} from './summary.js';
import {Trouble} from './trouble.js';

const OF_ANSWER = ['sent', 'sent_at', 'shown', 'shown_at', 'image', 'width', 'height', 'longest',
    'changes', 'text', 'ms', 'said', 'detections', 'trouble'];
const at = (id) => document.getElementById(id);
const pictures = []; // in the order they came
const known = names();
const show_call = call_panel(at('call'));
let current = -1;
let working = false;

/* Pictures come in */

/* `more`: whether it is `saved` in a file, or the `address` it lies at. */
function add(files, more) {
    for (const file of files) {
        pictures.push({title: file.name, open: async () => file, state: 'waiting', ...more});
    }
    if (files.length) {
        select(pictures.length - files.length);
        work();
    }
}

function add_sample(name) {
    const address = new URL(`/page/samples/${name}`, location.href).href;
    const before = pictures.findIndex((picture) => picture.address === address);
    if (before >= 0) {
        return select(before);
    }
    pictures.push({title: name, open: () => fetched(address, name), state: 'waiting', saved: true, address: address});
    select(pictures.length - 1);
    work();
}

async function fetched(address, name) {
    try {
        const response = await fetch(address);
        return new File([await response.blob()], name);
    } catch (e) {
        throw new Trouble(`No response from ${location.origin}. Is the server still running?`, true);
    }
}

function remove() {
    const [gone] = pictures.splice(current, 1);
    if (!gone) {
        return;
    }
    gone.stop?.abort();
    forget(gone);
    select(Math.min(current, pictures.length - 1));
    (at('strip').querySelector('[aria-current="true"]') || at('choose')).focus();
}

/* Each is asked about */

/* One at a time, so that the time shown is the model's and not that of its queue. */
async function work() {
    if (working) {
        return;
    }
    working = true;
    for (let next; (next = pictures.find((picture) => picture.state === 'waiting'));) {
        await answer(next);
    }
    working = false;
}

async function answer(picture) {
    forget(picture);
    picture.state = 'asking';
    picture.said = 'Waiting for the model…';
    picture.stop = new AbortController();
    const signal = picture.stop.signal;
    changed(picture);
    try {
        Object.assign(picture, await prepare(await picture.open(), at('shrink').checked));
        signal.throwIfAborted();
        keep(picture);
        changed(picture);
        Object.assign(picture, await ask(picture.sent, signal, (words) => {
            picture.said = words;
            changed(picture);
        }));
        picture.detections = detections(picture.text, await known);
        picture.state = 'answered';
    } catch (e) {
        picture.state = 'failed';
        picture.trouble = e instanceof Trouble ? e :
            new Trouble(`This page failed with an internal error: ${e}`);
    }
    if (signal.aborted) { // to be asked anew, unless it is removed
        forget(picture);
        picture.state = 'waiting';
    }
    changed(picture);
}

function keep(picture) {
    picture.sent_at = URL.createObjectURL(picture.sent);
    picture.shown_at = picture.shown && URL.createObjectURL(picture.shown);
    picture.shown = null;
}

/* What a former answer left. */
function forget(picture) {
    for (const address of [picture.sent_at, picture.shown_at]) {
        URL.revokeObjectURL(address);
    }
    for (const name of OF_ANSWER) {
        delete picture[name];
    }
}

/* And shown */

function select(place) {
    current = place;
    show();
}

function changed(picture) {
    if (picture === pictures[current]) {
        show();
    } else {
        show_strip();
    }
}

function show() {
    const picture = pictures[current];
    document.body.classList.toggle('empty', !picture);
    if (picture) {
        show_picture(picture);
        list_findings(at('findings'), picture.detections || [], point);
        list_facts(at('facts'), picture);
        show_call(picture);
    } else {
        at('frame').hidden = at('trouble').hidden = true;
    }
    show_sure();
}

function show_picture(picture) {
    at('stage').classList.toggle('asking', picture.state === 'asking');
    at('frame').hidden = !picture.shown_at;
    if (picture.shown_at && at('picture').src !== picture.shown_at) {
        at('picture').src = picture.shown_at;
        at('frame').style.setProperty('--ratio', picture.width / picture.height);
        at('frame').style.setProperty('--natural', `${picture.width}px`);
    }
    at('picture').alt = picture.title;
    draw_boxes(at('boxes'), picture.detections || []);
    at('trouble').hidden = !picture.trouble;
    at('why').textContent = picture.trouble ? picture.trouble.message : '';
    at('again').hidden = !picture.trouble?.passing;
}

/* What the slider asks for, of what is here already. */
function show_sure() {
    const least = Number(at('least').value) / 100;
    at('least-said').textContent = percent(least);
    at('least').setAttribute('aria-valuetext', percent(least));
    const picture = pictures[current];
    if (picture?.detections) {
        const hides = (i) => picture.detections[i].score < least;
        [...at('boxes').children].forEach((box, i) => {
            box.hidden = hides(i);
        });
        hide_findings(at('findings'), hides);
    }
    say(picture?.detections ? summary(picture.detections, least) :
        picture?.trouble ? 'No boxes for this one.' : picture?.said || '');
    show_strip();
}

/* Only what is new: a screen reader says it again. */
function say(words) {
    if (at('said').textContent !== words) {
        at('said').textContent = words;
    }
}

function show_strip() {
    const least = Number(at('least').value) / 100;
    for (const picture of pictures) {
        const sure = (picture.detections || []).filter((found) => found.score >= least).length;
        picture.mark = {waiting: '…', asking: '…', failed: '!', answered: String(sure)}[picture.state];
        picture.about = picture.state === 'answered' ? `${sure} found` : picture.state;
    }
    draw_strip(at('strip'), pictures, current, select);
}

/* The box of one finding alone; all of them for -1. */
function point(place) {
    at('boxes').classList.toggle('one', place >= 0);
    [...at('boxes').children].forEach((box, i) => box.classList.toggle('meant', i === place));
}

/* By keys as well */

function pressed(event) {
    const elsewhere = event.target.closest('input, pre, dialog');
    if (elsewhere || event.altKey || event.ctrlKey || event.metaKey || !pictures.length) {
        return;
    }
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (step && pictures[current + step]) {
        event.preventDefault();
        select(current + step);
    } else if (event.key === 'Delete') {
        remove();
    }
}

function shrink_changed() {
    for (const picture of pictures) {
        const asking = picture.state === 'asking';
        const unknown = asking && !picture.sent; // it is being prepared, as was chosen before
        if (!unknown && !(picture.longest > LONGEST)) {
            continue;
        }
        if (asking) {
            picture.stop.abort();
        } else {
            picture.state = 'waiting';
        }
    }
    work();
}

at('where').textContent = location.host;
const from_disk = (files) => add(files, {saved: true});
const from_nowhere = (files) => add(files, {saved: false});
chosen(at('files'), from_disk);
chosen(at('capture'), from_nowhere);
dropped(at('stage'), from_disk);
pasted(from_nowhere);
at('choose').addEventListener('click', () => at('files').click());
at('use-camera').addEventListener('click',
    camera(at('camera'), at('capture'), (file) => from_nowhere([file])));
for (const button of document.querySelectorAll('[data-sample]')) {
    button.addEventListener('click', () => add_sample(button.dataset.sample));
}
at('least').addEventListener('input', show_sure);
at('shrink').addEventListener('change', shrink_changed);
at('again').addEventListener('click', () => {
    pictures[current].state = 'waiting';
    work();
});
at('remove').addEventListener('click', remove);
document.addEventListener('keydown', pressed);
