/* A picture from the camera: in a dialog where the browser lets a page see one, else by the phone's own
   camera, which hands over a file. */

const BEST = {video: {facingMode: 'environment', width: {ideal: 1920}}};
const REASONS = {
    NotAllowedError: 'The browser was not allowed to use the camera. Allow it in the address bar.',
    NotFoundError: 'There is no camera here. Choose a picture instead.',
    NotReadableError: 'Another program is using the camera. Close it and try again.',
};

/* Calls `taken` with the file. */
export function camera(dialog, capture, taken) {
    const [view, said, take, close] =
        ['#view', '#camera-said', '#take', '#close-camera'].map((name) => dialog.querySelector(name));
    let number = 0;
    let opened = 0; // times

    async function open() {
        if (!navigator.mediaDevices) { // only over HTTPS, and from localhost
            capture.click();
            return;
        }
        let_go(); // the event of the last closing may come after this
        said.textContent = 'Waiting for the camera…';
        take.disabled = true;
        dialog.showModal();
        opened += 1;
        const mine = opened;
        const over = () => mine !== opened || !dialog.open; // closed meanwhile, and perhaps opened again
        try {
            const stream = await navigator.mediaDevices.getUserMedia(BEST);
            if (over()) {
                stop(stream);
                return;
            }
            view.srcObject = stream;
            await view.play();
            if (!over()) {
                said.textContent = '';
                take.disabled = false;
                take.focus();
            }
        } catch (e) {
            if (!over()) {
                said.textContent = REASONS[e.name] || `The camera cannot be used: ${e.message}`;
            }
        }
    }

    function let_go() {
        if (view.srcObject) {
            stop(view.srcObject);
        }
        view.srcObject = null;
    }

    async function shoot() {
        const canvas = document.createElement('canvas');
        canvas.width = view.videoWidth;
        canvas.height = view.videoHeight;
        canvas.getContext('2d').drawImage(view, 0, 0);
        const blob = await new Promise((done) => canvas.toBlob(done, 'image/jpeg', 0.92));
        dialog.close();
        number += 1;
        taken(new File([blob], `camera-${number}.jpg`, {type: 'image/jpeg'}));
    }

    take.addEventListener('click', shoot);
    close.addEventListener('click', () => dialog.close());
    dialog.addEventListener('close', () => dialog.open || let_go());
    return open;
}

function stop(stream) {
    for (const track of stream.getTracks()) {
        track.stop();
    }
}
