/* The form for a model that is not a detector: a field for each input of a signature. */

import {PageError} from './errors.js';
import {input_field} from './input_field.js';
import {tensor_text} from './metadata.js';
import {predict} from './request.js';

const DEFAULT = 'serving_default';
const MAX_SHOWN = 4000; // characters of a request that snippets contain; others read a file

/* Shows the form. `report` gets the request and the response, or the error, of each Send. Returns
   the function that takes dropped and pasted files. */
export function model_form(section, {signatures}, report) {
    const [form, choice, select, fields, outputs] =
        ['form', '#signature-choice', '#signature', '#fields', '#outputs'].map((selector) =>
            section.querySelector(selector));
    const names = Object.keys(signatures);
    let inputs = [];
    let sent_url;
    let controller = new AbortController();

    function show_signature() {
        controller.abort();
        report({});
        const {inputs: tensors, outputs: results} = signatures[select.value];
        inputs = Object.entries(tensors).map(([name, tensor]) => input_field(name, tensor));
        fields.replaceChildren(...inputs.map(({element}) => element));
        outputs.replaceChildren(...Object.entries(results).flatMap(([name, tensor]) => [
            with_text('dt', name), with_text('dd', tensor_text(tensor))]));
    }

    async function send(event) {
        event.preventDefault();
        controller.abort(); // of the previous request
        controller = new AbortController();
        const {signal} = controller;
        const tell = (result) => signal.aborted || report(result);
        tell({status: 'Waiting for the response…'});
        try {
            const values = await Promise.all(inputs.map((field) => field.json()));
            const name = JSON.stringify(select.value);
            const json = `{"signature_name": ${name}, "inputs": {${values.join(', ')}}}`;
            const sent = new Blob([json], {type: 'application/json'});
            const response = await predict(sent, signal, (status) => tell({status}));
            URL.revokeObjectURL(sent_url);
            sent_url = URL.createObjectURL(sent);
            tell({
                status: 'The model responded.',
                ...response, sent, sent_url, name: 'request.json', changes: [],
                json: json.length > MAX_SHOWN ? '' : json,
            });
        } catch (e) {
            tell({error: e instanceof PageError ? e : new PageError(`Internal error: ${e}`)});
        }
    }

    select.replaceChildren(...names.map((name) => with_text('option', name)));
    select.value = names.includes(DEFAULT) ? DEFAULT : names[0];
    choice.hidden = names.length < 2;
    select.addEventListener('change', show_signature);
    form.addEventListener('submit', send);
    section.querySelector('#reset').addEventListener('click', show_signature);
    show_signature();
    section.hidden = false;
    return (files) => inputs.find((field) => field.takes_files)?.use_files(files);
}

function with_text(tag, text) {
    const element = document.createElement(tag);
    element.textContent = text;
    return element;
}
