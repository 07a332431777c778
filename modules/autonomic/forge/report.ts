import { type Files, install } from './files.ts'
import type { Inspection } from './inspect.ts'

/** `forged.md`: where the module is, how it is installed, and every file of it. */
export function forgedReport(id: string, path: string, files: Files, created: boolean): string {
  const sections = [...files].map(([name, content]) => {
    const fence = '`'.repeat(Math.max(3, ...(content.match(/`+/g) ?? []).map((run) => run.length + 1)))
    return `## ${name}\n\n${fence}${name.slice(name.lastIndexOf('.') + 1)}\n${content.trimEnd()}\n${fence}`
  })
  return `${[
    `# ${id}`,
    created ? `Written to \`${path}\`.` : `The same files were at \`${path}\` already; nothing was written.`,
    `Install it where the daemon runs, and it is found and started at once:\n\n\`\`\`sh\n${install(id, path)}\n\`\`\``,
    'It is a start that works. What makes it do its particular job goes into `index.ts`.',
    ...sections,
  ].join('\n\n')}\n`
}

/** `inspection.md`: each check and what it found. */
export function inspectionReport({ id, path, checks }: Inspection): string {
  const failed = checks.filter(({ ok }) => !ok).length
  const rows = checks.map(
    ({ check, ok, detail }) => `| ${ok ? 'ok' : '**failed**'} | ${cell(check)} | ${cell(detail)} |`,
  )
  return `${[
    `# Inspection of ${id}`,
    failed === 0
      ? `**All ${checks.length} checks passed.**`
      : `**${failed} of ${checks.length} checks failed.**`,
    `\`${path}\``,
    ['| | check | found |', '|---|---|---|', ...rows].join('\n'),
    'The code was imported and its self-tests were run here, three times each, as the daemon does before it trusts new code. ' +
      'A `start` of the module, if it has one, was not called.',
  ].join('\n\n')}\n`
}

function cell(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/[\\`*{}[\]<>|#]|(?<!\w)_|_(?!\w)/g, '\\$&')
}
