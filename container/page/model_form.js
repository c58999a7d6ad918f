/* The form for a model that is not a detector: a field for each input of a signature. */

import {PageError} from './errors.js';
import {on_one_line} from './format.js';
import {input_field} from './input_field.js';
import {load_metadata, model_header, tensor_text} from './metadata.js';
import {predict} from './request.js';

const DEFAULT = 'serving_default';
const MAX_SHOWN = 4000; // characters of a request that snippets contain; others read a file

/* Shows the form. `report` gets the request and the response, or the error, of each Send. Returns
   the function that takes dropped and pasted files. */
export function model_form(section, metadata, report) {
    const [form, model_choice, model, choice, signature, fields, outputs] = ['form', '#model-choice',
        '#model', '#signature-choice', '#signature', '#fields', '#outputs'].map((selector) =>
        section.querySelector(selector));
    let {signatures} = metadata;
    let selected = ''; // the model, if it is not the default one
    let inputs = [];
    let sent_url;
    let controller = new AbortController();

    function show_signature() {
        controller.abort();
        report({});
        const {inputs: tensors, outputs: results} = signatures[signature.value];
        inputs = Object.entries(tensors).map(([name, tensor]) => input_field(name, tensor));
        fields.replaceChildren(...inputs.map(({element}) => element));
        outputs.replaceChildren(...Object.entries(results).flatMap(([name, tensor]) => [
            with_text('dt', name), with_text('dd', tensor_text(tensor))]));
    }

    function show_signatures() {
        const names = Object.keys(signatures);
        signature.replaceChildren(...names.map((name) => with_text('option', name)));
        signature.value = names.includes(DEFAULT) ? DEFAULT : names[0];
        choice.hidden = names.length < 2;
        show_signature();
    }

    async function change_model() {
        const name = model.value;
        const loaded = await load_metadata(name);
        if (loaded && name === model.value) {
            ({signatures} = loaded);
            selected = name === metadata.model ? '' : name;
            show_signatures();
        }
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
            const name = JSON.stringify(signature.value);
            const json = `{"signature_name": ${name}, "inputs": {${values.join(', ')}}}`;
            const sent = new Blob([json], {type: 'application/json'});
            const response = await predict(sent, signal, (status) => tell({status}),
                model_header(selected));
            URL.revokeObjectURL(sent_url);
            sent_url = URL.createObjectURL(sent);
            tell({
                status: 'The model responded.',
                ...response, text: on_one_line(response.text), sent, sent_url, name: 'request.json', changes: [], model: selected,
                json: json.length > MAX_SHOWN ? '' : json,
            });
        } catch (e) {
            tell({error: e instanceof PageError ? e : new PageError(`Internal error: ${e}`)});
        }
    }

    model.replaceChildren(...metadata.models.map((name) => with_text('option', name)));
    model.value = metadata.model;
    model_choice.hidden = metadata.models.length < 2;
    model.addEventListener('change', change_model);
    signature.addEventListener('change', show_signature);
    form.addEventListener('submit', send);
    section.querySelector('#reset').addEventListener('click', show_signature);
    show_signatures();
    section.hidden = false;
    return (files) => inputs.find((field) => field.takes_files)?.use_files(files);
}

function with_text(tag, text) {
    const element = document.createElement(tag);
    element.textContent = text;
    return element;
}
