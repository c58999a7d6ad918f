/* A field of the form: the value of one input as JSON, or files for an input that may be images. */

import {PageError} from './errors.js';
import {file_size} from './format.js';
import {tensor_text} from './metadata.js';
import {is_image_tensor, pixels} from './pixels.js';

const MOST_ROWS = 12;
const ROW_LENGTH = 60; // characters
const NOT_IN_JSON = /-?\b(?:NaN|Infinity)\b/g; // TensorFlow Serving accepts them
const SCALES = {
    '0 to 255': (value) => value,
    '0 to 1': (value) => Number((value / 255).toFixed(4)),
    '-1 to 1': (value) => Number((value / 127.5 - 1).toFixed(4)),
};

let count = 0;

export function input_field(name, tensor) {
    const element = document.getElementById('field').content.firstElementChild.cloneNode(true);
    const [label, type, value, pick, chosen, file_names, preview, scale, choose, remove, file_input] =
        ['label span', 'label small', 'textarea', '.pick', '.chosen', '.chosen p', '.chosen img',
            '.scale', '.pick button', '.chosen button', 'input',
        ].map((selector) => element.querySelector(selector));
    const of_pixels = is_image_tensor(tensor);
    const is_single = tensor.shape?.length === 0;
    const of_strings = tensor.dtype === 'string' && (tensor.shape?.length ?? 1) < 2;
    const takes_files = of_strings || of_pixels;
    let files = [];

    label.textContent = name;
    type.textContent = tensor_text(tensor);
    element.querySelector('label').htmlFor = value.id = `input-${count++}`;
    value.value = (JSON.stringify(tensor.example) ?? '').replaceAll(',', ', ');
    value.placeholder = 'A value as JSON';
    value.rows = Math.min(MOST_ROWS, Math.ceil(value.value.length / ROW_LENGTH) || 1);
    pick.hidden = !takes_files;
    scale.hidden = !of_pixels;

    function use_files(added) {
        files = is_single ? added.slice(0, 1) : added;
        value.hidden = files.length > 0;
        pick.hidden = value.hidden || !takes_files;
        chosen.hidden = !value.hidden;
        file_names.textContent = files.map((file) => `${file.name}, ${file_size(file.size)}`).join('\n');
        URL.revokeObjectURL(preview.src);
        preview.hidden = true;
        if (files.length) {
            preview.src = URL.createObjectURL(files[0]);
        }
    }

    async function file_value() {
        const to_unit = SCALES[scale.querySelector('select').value];
        const values = await Promise.all(files.map(async (file) => JSON.stringify(
            of_pixels ? await pixels(file, tensor.shape, to_unit) : {b64: await base64(file)})));
        return is_single ? values[0] : `[${values.join(', ')}]`;
    }

    preview.addEventListener('load', () => {
        preview.hidden = false;
    });
    choose.addEventListener('click', () => file_input.click());
    file_input.addEventListener('change', () => {
        use_files([...file_input.files]);
        file_input.value = '';
    });
    remove.addEventListener('click', () => {
        use_files([]);
        value.focus();
    });

    /* "name": value, as in a JSON object */
    async function json() {
        const text = files.length ? await file_value() : checked(name, value.value.trim());
        return `${JSON.stringify(name)}: ${text}`;
    }

    return {element, takes_files, use_files, json};
}

function checked(name, text) {
    if (!text) {
        throw new PageError(`${name}: empty. Type a value as JSON.`);
    }
    try {
        JSON.parse(text.replace(NOT_IN_JSON, '0'));
        return text;
    } catch (e) {
        throw new PageError(`${name}: not JSON (${e.message}). Strings need quotes, lists brackets.`);
    }
}

function base64(file) {
    const reader = new FileReader();
    return new Promise((resolve, reject) => {
        reader.onload = () => resolve(reader.result.split(',')[1] ?? '');
        reader.onerror = () => reject(new PageError(`${file.name} cannot be read.`));
        reader.readAsDataURL(file);
    });
}
