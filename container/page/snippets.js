/* The call that was made, as a program or a shell would make it. */

import {ROUTE} from './asking.js';

/* `call`: the picture's type, and either the file it is in or the address it lies at. */
export function curl(call) {
    const post = `curl --data-binary @${call.address ? '-' : shell(call.file)} ` +
        `--header 'Content-Type: ${call.type}' \\\n  ${shell(location.origin + ROUTE)}`;
    return call.address ? `curl --silent ${shell(call.address)} | \\\n${post}` : post;
}

export function boto3(call) {
    const body = call.address ? `urllib.request.urlopen(${python(call.address)}).read()` :
        `open(${python(call.file)}, "rb").read()`;
    return `import boto3
${call.address ? 'import urllib.request\n' : ''}
runtime = boto3.client(
    "sagemaker-runtime",
    endpoint_url=${python(location.origin)},
    region_name="us-east-1",
    aws_access_key_id="local",  # signs a request that nobody here checks
    aws_secret_access_key="local",
)
answer = runtime.invoke_endpoint(
    EndpointName="local",
    ContentType=${python(call.type)},
    Body=${body},
)
print(answer["Body"].read().decode())
`;
}

function shell(word) {
    return `'${word.replaceAll('\'', '\'\\\'\'')}'`;
}

/* JSON's strings are Python's, too. */
function python(text) {
    return JSON.stringify(text);
}
