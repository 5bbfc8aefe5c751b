// A request in the words of curl, of the Python SDK, and of the openai package.

const inSh = (text) => `'${text.replaceAll("'", "'\\''")}'`;
/** JSON's strings and numbers are Python's too. */
const inPython = (value) => (typeof value === "boolean" ? (value ? "True" : "False") : JSON.stringify(value));

const argument = ([name, value]) => `    ${name}=${inPython(value)},\n`;
const call = (entries) => entries.map(argument).join("");

function plain({ logprobs, ...parameters }) {
  return parameters;
}

export function curl(root, request, keys) {
  const { inputs, parameters, priority } = request;
  const body = JSON.stringify({ inputs, parameters: plain(parameters), priority }, null, 2);
  const key = keys ? `  -H "Authorization: Bearer $DISTILQ_API_KEY" \\\n` : "";
  return `curl -s ${root}/v1/jobs \\
${key}  -H 'Content-Type: application/json' -H 'Prefer: wait=60' \\
  -d ${inSh(body)}\n`;
}

export function python(root, request, keys) {
  const given = call(Object.entries(plain(request.parameters)));
  const note = keys ? "  # the key is taken from DISTILQ_API_KEY" : "";
  return `from distilq import Client

with Client(${inPython(root)}) as client:${note}
    result = client.generate(
        ${inPython(request.inputs)},
${given.replaceAll(/^/gm, "    ").trimEnd()}
    )
    for text in result.texts[0]:
        print(text)
        print("---")
`;
}

/** OpenAI's contract knows no top_k, and cuts no prompt. */
export function openai(root, request, keys, model) {
  const { temperature, top_p, top_k, max_new_tokens: max_tokens, seed } = request.parameters;
  const n = request.parameters.num_return_sequences;
  const given = { model, prompt: request.inputs, max_tokens, n, temperature, top_p, seed };
  const key = keys ? 'os.environ["DISTILQ_API_KEY"]' : '"any, where keys are off"';
  const note = top_k ? `    # top_k=${top_k} has no place here: it draws from all tokens\n` : "";
  return `${keys ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url=${inPython(`${root}/v1`)}, api_key=${key})
completion = client.completions.create(
${call(Object.entries(given).filter(([, value]) => value !== undefined))}${note})
for choice in completion.choices:
    print(choice.text)
    print("---")
`;
}

export const SNIPPETS = { curl, python, openai };
