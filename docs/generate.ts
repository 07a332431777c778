import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { SETTINGS, type Setting } from '../daemon/contracts/config.ts'
import { FAILURES } from '../daemon/contracts/failure.ts'

/** The pages that are written from tables of the source: `node docs/generate.ts` after a change of one. */
export function pages(): Readonly<Record<string, string>> {
  return { 'failures.md': failuresPage(), 'settings.md': settingsPage() }
}

function failuresPage(): string {
  const rows = Object.entries(FAILURES).map(([code, entry]) => {
    const exit = 'exit' in entry ? String(entry.exit) : ''
    return row([`\`${code}\``, String(entry.status), exit, entry.say, entry.remedy])
  })
  return `# Failures

Every way the daemon can refuse or fail. A caller branches on the code; the sentence is for people, and words in
braces are filled in from the case. Over HTTP a failure is \`application/problem+json\` with this status, the code and
the remedy. Where an exit code stands, the failure can end a start of \`nexusd\` with it.

Written from \`daemon/contracts/failure.ts\` by \`docs/generate.ts\`.

${row(['code', 'status', 'exit', 'sentence', 'remedy'])}
${row(['---', '---', '---', '---', '---'])}
${rows.join('\n')}
`
}

function settingsPage(): string {
  const rows = Object.entries(SETTINGS).map(([name, setting]: [string, Setting]) =>
    row([
      `\`${name}\``,
      `\`NEXUS_${name.toUpperCase().replaceAll('.', '__')}\``,
      `\`${JSON.stringify(setting.default)}\``,
      bounds(setting),
      setting.why,
    ]),
  )
  return `# Settings

All of them are optional. They come from options of \`nexusd\`, from the environment, from \`nexus configure\`, from
\`nexus.yaml\` (or \`nexus.yml\`, \`nexus.json\`; \`--config\` and \`NEXUS_CONFIG\` name another) and from these defaults, the
earlier before the later. In the file a dot is a level: \`http.port\` is \`port\` below \`http\`. In the environment lists are
split at colons and trees are JSON. The last word of a name is its unit. \`nexus config\` prints what is in force and where
it came from.

Written from \`daemon/contracts/config.ts\` by \`docs/generate.ts\`.

${row(['setting', 'variable', 'default', 'what it takes', 'why this default'])}
${row(['---', '---', '---', '---', '---'])}
${rows.join('\n')}
`
}

function bounds(setting: Setting): string {
  switch (setting.kind) {
    case 'integer':
      return `whole number, ${setting.min} to ${setting.max}`
    case 'number':
      return `number, ${setting.min} to ${setting.max}`
    case 'text':
      return setting.choices?.map((choice) => `\`${choice}\``).join(', ') ?? 'text'
    case 'path':
      return 'path'
    case 'paths':
      return 'list of paths'
    case 'tree':
      return Array.isArray(setting.default) ? 'list' : 'names and values'
  }
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, text] of Object.entries(pages())) writeFileSync(new URL(name, import.meta.url), text)
}
