/* A picture from the camera: in a dialog where the browser lets a page see one, else by the phone's own
   camera, which hands over a file. */

const BEST = {video: {facingMode: 'environment', width: {ideal: 1920}}};
const REASONS = {
    NotAllowedError: 'The browser was not allowed to use the camera. Allow it beside the address.',
    NotFoundError: 'There is no camera here. Choose a picture instead.',
    NotReadableError: 'Another program is using the camera. Close it and try again.',
};

/* Calls `taken` with the file. */
export function camera(dialog, capture, taken) {
    const [view, said, take, close] =
        ['#view', '#camera-said', '#take', '#close-camera'].map((name) => dialog.querySelector(name));
    let number = 0;

    async function open() {
        if (!navigator.mediaDevices) { // only over HTTPS, and from localhost
            capture.click();
            return;
        }
        said.textContent = 'Waiting for the camera…';
        take.disabled = true;
        dialog.showModal();
        try {
            const stream = await navigator.mediaDevices.getUserMedia(BEST);
            view.srcObject = stream;
            if (!dialog.open) { // closed meanwhile
                stop();
                return;
            }
            await view.play();
            said.textContent = '';
            take.disabled = false;
            take.focus();
        } catch (e) {
            said.textContent = REASONS[e.name] || `The camera cannot be used: ${e.message}`;
        }
    }

    function stop() {
        for (const track of view.srcObject ? view.srcObject.getTracks() : []) {
            track.stop();
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
    dialog.addEventListener('close', stop);
    return open;
}
