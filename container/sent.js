/* What a client sent need not be UTF-8; what is said of it in JSON must be. */

/* A variable of nginx's, with a mark for each byte that is none. */
function text(r, name) {
    return r.variables[name] ? r.rawVariables[name].toString() : '';
}

export default {text};
