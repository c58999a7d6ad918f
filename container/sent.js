/* Client input need not be UTF-8, but JSON must be. */

/* An nginx variable, with a replacement character for each invalid byte. */
function text(r, name) {
    return r.variables[name] ? r.rawVariables[name].toString() : '';
}

export default {text};
