/* Holds the state of the page and connects its modules, which keep no images themselves. */

import {API, show_api_parts} from './api.js';
import {api_call_panel} from './api_call.js';
import {draw_boxes} from './boxes.js';
import {camera} from './camera.js';
import {show_details} from './details.js';
import {hide_detections, list_detections} from './detection_list.js';
import {PageError} from './errors.js';
import {on_choose, on_drop, on_paste} from './file_inputs.js';
import {percent} from './format.js';
import {load_class_names} from './label_map.js';
import {is_detector, load_metadata} from './metadata.js';
import {model_form} from './model_form.js';
import {MAX_SIDE, prepare} from './prepare.js';
import {fetch_sample, predict} from './request.js';
import {parse_detections} from './response.js';
import {summary} from './summary.js';
import {show_thumbnails} from './thumbnails.js';

const by_id = (id) => document.getElementById(id);
const images = []; // in the order they were added
const class_names = API ? Promise.resolve(new Map()) : load_class_names();
const show_api_call = api_call_panel(by_id('api-call'));
let current = -1;
let is_processing = false;
let is_min_score_chosen = false; // by moving the slider
let use_in_form; // takes files if the page shows the form, instead of images

/* Adding and removing images */

function add_files(files, has_file) {
    if (use_in_form) {
        use_in_form(files);
        return;
    }
    add(files.map((file) => ({title: file.name, open: async () => file, has_file})));
}

function add_samples(names) {
    const samples = names.map((name) => {
        const url = new URL(`/page/samples/${name}`, location.href).href;
        return {title: name, open: () => fetch_sample(url, name), has_file: true, url};
    });
    const is_added = ({url}) => images.some((image) => image.url === url);
    add(samples.filter((sample) => !is_added(sample)));
    select(images.findIndex(({url}) => url === samples[0].url));
}

function add(added) {
    if (added.length) {
        images.push(...added.map((image) => ({...image, state: 'queued', result: {}})));
        select(images.length - added.length);
        process_queue();
    }
}

function remove() {
    const [removed] = images.splice(current, 1);
    if (removed) {
        removed.controller?.abort();
        clear_result(removed);
        select(Math.min(current, images.length - 1));
        (by_id('thumbnails').querySelector('[aria-current="true"]') || by_id('choose')).focus();
    }
}

/* Processing */

/* One request at a time, so that the response time does not include waiting for other images. */
async function process_queue() {
    if (is_processing) {
        return;
    }
    is_processing = true;
    for (let next; (next = images.find(({state}) => state === 'queued'));) {
        await process(next);
    }
    is_processing = false;
}

async function process(image) {
    clear_result(image);
    const {result} = image;
    const report = (status) => {
        result.status = status;
        update(image);
    };
    image.state = 'processing';
    image.controller = new AbortController();
    const {signal} = image.controller;
    report('Waiting for the response…');
    try {
        Object.assign(result, await prepare(await image.open(), by_id('shrink').checked));
        signal.throwIfAborted();
        result.sent_url = URL.createObjectURL(result.sent);
        result.shown_url = result.shown && URL.createObjectURL(result.shown);
        update(image);
        Object.assign(result, await predict(result.sent, signal, report));
        result.detections = parse_detections(result.text, await class_names);
        image.state = 'done';
    } catch (e) {
        image.state = 'failed';
        result.error = e instanceof PageError ? e : new PageError(`Internal error: ${e}`);
    }
    if (signal.aborted) { // The image was removed, or is processed again.
        clear_result(image);
        image.state = 'queued';
    }
    update(image);
}

function restart(image) {
    if (image.state === 'processing') {
        image.controller.abort();
    } else {
        image.state = 'queued';
    }
    process_queue();
}

function shrink_changed() {
    for (const image of images) {
        const {sent, longer_side} = image.result;
        const is_preparing = image.state === 'processing' && !sent; // with the previous setting
        if (is_preparing || longer_side > MAX_SIDE) {
            restart(image);
        }
    }
}

function clear_result(image) {
    URL.revokeObjectURL(image.result.sent_url);
    URL.revokeObjectURL(image.result.shown_url);
    image.result = {};
}

/* Showing the current image */

function select(index) {
    current = index;
    show();
}

function update(image) {
    if (image === images[current]) {
        show();
    } else {
        update_thumbnails();
    }
}

function show() {
    const image = images[current];
    document.body.classList.toggle('empty', !image);
    if (image) {
        show_image(image);
        list_detections(by_id('detections'), image.result.detections || [], highlight);
        show_details(by_id('details'), image.result);
        show_api_call(image);
    } else {
        by_id('frame').hidden = by_id('error').hidden = true;
    }
    apply_min_score();
}

function show_image({title, state, result}) {
    const {shown_url, width, height, detections, error} = result;
    by_id('viewer').classList.toggle('processing', state === 'processing');
    by_id('frame').hidden = !shown_url;
    if (shown_url && by_id('image').src !== shown_url) {
        by_id('image').src = shown_url;
        by_id('frame').style.setProperty('--aspect-ratio', width / height);
        by_id('frame').style.setProperty('--natural-width', `${width}px`);
    }
    by_id('image').alt = title;
    draw_boxes(by_id('boxes'), detections || []);
    by_id('error').hidden = !error;
    by_id('error-message').textContent = error?.message;
    by_id('retry').hidden = !error?.retryable;
}

function min_score() {
    return Number(by_id('min-score').value) / 100;
}

/* Until the slider is moved, the model's own thresholds decide, if it has any. */
function is_shown({score, threshold}) {
    return score >= (is_min_score_chosen ? min_score() : threshold ?? min_score());
}

function choose_min_score() {
    is_min_score_chosen = true;
    apply_min_score();
}

function apply_min_score() {
    const {detections, error, status} = images[current]?.result || {};
    const is_the_models = !is_min_score_chosen && detections?.[0]?.threshold !== undefined;
    const text = is_the_models ? 'set by the model' : percent(min_score());
    by_id('min-score-text').textContent = text;
    by_id('min-score').setAttribute('aria-valuetext', text);
    if (detections) {
        const is_hidden = (i) => !is_shown(detections[i]);
        [...by_id('boxes').children].forEach((box, i) => {
            box.hidden = is_hidden(i);
        });
        hide_detections(by_id('detections'), is_hidden);
    }
    show_status(detections ? summary(detections, is_shown) : error ? 'No results.' : status || '');
    update_thumbnails();
}

/* Screen readers announce every assignment, even of the same text. */
function show_status(text) {
    if (by_id('status').textContent !== text) {
        by_id('status').textContent = text;
    }
}

function update_thumbnails() {
    show_thumbnails(by_id('thumbnails'), images, current, is_shown, select);
}

/* A model that is not a detector gets a form for its inputs instead of the viewer. */
async function choose_view() {
    const metadata = await load_metadata();
    if (!metadata || is_detector(metadata) || images.length) {
        return;
    }
    for (const part of document.querySelectorAll('.input, .samples, .min-score, #remove')) {
        part.hidden = true;
    }
    document.body.classList.remove('empty');
    by_id('intro').textContent = 'Send requests to the model. They go';
    use_in_form = model_form(by_id('model-form'), metadata, show_response);
}

function show_response(result) {
    const {status, ms, error, json} = result;
    by_id('form-error').hidden = !error;
    by_id('form-error').textContent = error?.message;
    show_status(status || (error ? 'No response.' : ''));
    show_details(by_id('details'), {ms});
    show_api_call({has_file: Boolean(json), result});
}

/* Fades all boxes but one; -1 fades none. */
function highlight(index) {
    by_id('boxes').classList.toggle('fade-others', index >= 0);
    [...by_id('boxes').children].forEach((box, i) => {
        box.classList.toggle('highlighted', i === index);
    });
}

function on_key(event) {
    const uses_keys = event.target.closest('input, textarea, select, pre, dialog');
    if (uses_keys || event.altKey || event.ctrlKey || event.metaKey) {
        return;
    }
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (step && images[current + step]) {
        event.preventDefault();
        select(current + step);
    } else if (event.key === 'Delete') {
        remove();
    }
}

by_id('host').textContent = location.host;
on_choose(by_id('files'), (files) => add_files(files, true));
on_choose(by_id('camera-app'), (files) => add_files(files, false));
on_drop(by_id('viewer'), (files) => add_files(files, true));
on_paste((files) => add_files(files, false));
by_id('choose').addEventListener('click', () => by_id('files').click());
by_id('use-camera').addEventListener('click',
    camera(by_id('camera'), by_id('camera-app'), (file) => add_files([file], false)));
const sample_buttons = [...document.querySelectorAll('[data-sample]')];
for (const button of sample_buttons) {
    button.addEventListener('click', () => add_samples([button.dataset.sample]));
}
by_id('min-score').addEventListener('input', choose_min_score);
by_id('shrink').addEventListener('change', shrink_changed);
by_id('retry').addEventListener('click', () => restart(images[current]));
by_id('remove').addEventListener('click', remove);
document.addEventListener('keydown', on_key);
if (location.hash === '#samples') { // as `petbox demo` opens it
    add_samples(sample_buttons.map((button) => button.dataset.sample));
}
show_api_parts();
if (!API) {
    choose_view();
}
