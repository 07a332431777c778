import type { Blueprint } from './blueprint.ts'

/** The files of a module by name, in the order of their names. */
export type Files = ReadonlyMap<string, string>

/** Writes the whole module: what is drawn here runs, and its test passes. */
export function render(blueprint: Blueprint): Files {
  return new Map([
    ['README.md', readme(blueprint)],
    ['index.test.ts', TEST],
    ['index.ts', code(blueprint)],
    ['module.json', manifest(blueprint)],
    ['package.json', `${JSON.stringify({ private: true, type: 'module' }, null, 2)}\n`],
  ])
}

/** How a person makes the daemon load it. */
export function install(id: string, path: string): string {
  const [group] = id.split('/')
  return `mkdir -p modules/${group} && cp -r '${path.replaceAll("'", "'\\''")}' modules/${id}`
}

function manifest({ id, description, actions }: Blueprint): string {
  const content = {
    id,
    version: '0.1.0',
    description,
    entry: 'index.ts',
    actions: Object.fromEntries(
      actions.map(({ name, description, template }) => [
        name,
        { description, input: template.input, output: template.output, idempotent: true },
      ]),
    ),
    self_test: actions.slice(0, 16).map(({ name, template }) => ({ action: name, ...template.test })),
  }
  return `${JSON.stringify(content, null, 2)}\n`
}

function code({ description, actions }: Blueprint): string {
  const imports = [...new Set(actions.flatMap(({ template }) => template.imports ?? []))]
  const entries = actions.map(({ name, template }) => `    ${key(name)}: ${template.code},`)
  return [
    ...imports,
    "import type { NexusModule } from 'aeon-nexus/module'",
    '',
    `/** ${description.replaceAll('*/', '* /')} */`,
    'export default {',
    '  actions: {',
    ...entries,
    '  },',
    '} satisfies NexusModule',
    '',
  ].join('\n')
}

function readme({ id, description, actions }: Blueprint): string {
  const rows = actions.map(({ name, description, template }) => {
    const call = `nexus call ${id}/${name} '${JSON.stringify(template.test.input).replaceAll("'", "'\\''")}'`
    return `### ${name}\n\n${plain(description)}\n\n\`\`\`sh\n${call}\n\`\`\``
  })
  return [
    `# ${id}`,
    plain(description),
    'This is a start that works: the actions below run and prove themselves. What makes it yours goes into `index.ts`; the ' +
      'daemon reloads it when you save.',
    '## Actions',
    ...rows,
    '## Install',
    `Put this folder at \`modules/${id}\` where the daemon runs; it is found and started at once.`,
    '## Test',
    '```sh\nnode index.test.ts\n```',
    '',
  ].join('\n\n')
}

const TEST = `import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import module from './index.ts'

const manifest = JSON.parse(readFileSync(new URL('module.json', import.meta.url), 'utf8'))
const actions: Readonly<Record<string, (input: never, ctx: never) => unknown>> = module.actions

test('the code has the actions of the manifest, and no others', () => {
  assert.deepEqual(Object.keys(actions).sort(), Object.keys(manifest.actions).sort())
})

for (const { action, input, expect } of manifest.self_test) {
  test(\`\${action} passes its self-test\`, async () => {
    assert.deepEqual(await actions[action]?.(input as never, {} as never), expect)
  })
}
`

function key(name: string): string {
  return /^[a-z][a-z0-9]*$/.test(name) ? name : `'${name}'`
}

/** A description comes from a person: nothing in it may act as Markdown. */
function plain(text: string): string {
  return text.replace(/[\\`*{}[\]<>|#]|(?<!\w)_|_(?!\w)/g, '\\$&')
}
