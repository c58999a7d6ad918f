/* A score, as it is said everywhere on the page. */

export function percent(score) {
    return `${Math.floor(100 * score + 1e-6)} %`; // never rounded up over what the slider asks for
}
