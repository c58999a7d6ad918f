/* The request as a shell command and as a Python program. */

import {API, ROUTE, key_headers} from './api.js';

/* The body is `json`, or is read from `url`, or else from `file`. */
export function curl({type, file, url, json, model, uploads}) {
    if (uploads) {
        return `# Over Lambda's limit: petbox uploads the image first, in two more requests.
petbox detect ${shell_quote(file)} \\${key_line()}
  --url ${shell_quote(location.origin + ROUTE)}`;
    }
    const data = json ? `--data ${shell_quote(json)}` :
        `--data-binary @${url ? '-' : shell_quote(file)}`;
    const post = `curl ${data} \\
  --header 'Content-Type: ${type}' \\${key_line()}${model_line(model, (name) => `
  --header 'X-Amzn-SageMaker-Custom-Attributes: ${name}' \\`)}
  ${shell_quote(location.origin + ROUTE)}`;
    return url ? `curl --silent ${shell_quote(url)} | \\\n${post}` : post;
}

export function boto3({type, file, url, json, model}) {
    const body = json ? python_quote(json) : url ? `urllib.request.urlopen(${python_quote(url)}).read()` :
        `open(${python_quote(file)}, "rb").read()`;
    return `import boto3
${url ? 'import urllib.request\n' : ''}
runtime = boto3.client(
    "sagemaker-runtime",
    endpoint_url=${python_quote(location.origin)},
    region_name="us-east-1",
    aws_access_key_id="local",  # boto3 must sign; this server does not check
    aws_secret_access_key="local",
)
response = runtime.invoke_endpoint(
    EndpointName="local",
    ContentType=${python_quote(type)},${model_line(model, (name) => `
    CustomAttributes=${python_quote(name)},`)}
    Body=${body},
)
print(response["Body"].read().decode())
`;
}

/* The key itself stays on the page. */
function key_line() {
    return API && Object.keys(key_headers()).length ? `
  --header "X-Api-Key: $KEY" \\` : '';
}

/* Model names need no quoting. */
function model_line(model, line) {
    return model ? line(`tfs-model-name=${model}`) : '';
}

function shell_quote(text) {
    return `'${text.replaceAll('\'', '\'\\\'\'')}'`;
}

function python_quote(text) {
    return JSON.stringify(text); // JSON string literals are valid Python.
}
