export type TemplateName = keyof typeof TEMPLATES

/** What one action is made from: its schemas, its code, and the case that proves it. */
export interface Template {
  readonly description: string
  readonly input: object
  readonly output: object
  /** Statement of imports that the code needs. */
  readonly imports?: string
  /** The function, as it stands behind the action's name, indented by four. */
  readonly code: string
  readonly test: { readonly input: object; readonly expect: object }
  /** Words of a goal that suggest it. */
  readonly words: RegExp
}

/** Every template is an action that works and proves it; an author begins with something that runs. */
export const TEMPLATES = {
  echo: {
    description: 'Answers the value it was given.',
    input: object({ value: {} }),
    output: object({ value: {} }),
    code: 'async ({ value }: { value: unknown }) => ({ value })',
    test: { input: { value: 'hello' }, expect: { value: 'hello' } },
    words: /\becho/i,
  },
  count: {
    description: 'Counts the characters, words and lines of a text.',
    input: object({ text: { type: 'string' } }),
    output: object({ characters: natural(), words: natural(), lines: natural() }),
    code: `async ({ text }: { text: string }) => ({
      characters: [...text].length,
      words: text.match(/[\\p{L}\\p{N}]+/gu)?.length ?? 0,
      lines: text === '' ? 0 : text.split('\\n').length,
    })`,
    test: { input: { text: 'two words\nand two' }, expect: { characters: 17, words: 4, lines: 2 } },
    words: /\b(count|word|text|character)/i,
  },
  measure: {
    description: 'Count, sum, mean, smallest and largest of numbers.',
    input: object({ numbers: { type: 'array', minItems: 1, items: { type: 'number' } } }),
    output: object({
      count: natural(),
      sum: { type: 'number' },
      mean: { type: 'number' },
      min: { type: 'number' },
      max: { type: 'number' },
    }),
    code: `async ({ numbers }: { numbers: number[] }) => {
      const sum = numbers.reduce((total, number) => total + number, 0)
      const [min, max] = numbers.reduce(
        ([low, high], number) => [Math.min(low, number), Math.max(high, number)],
        [Infinity, -Infinity],
      )
      return { count: numbers.length, sum, mean: sum / numbers.length, min, max }
    }`,
    test: { input: { numbers: [1, 2, 6] }, expect: { count: 3, sum: 9, mean: 3, min: 1, max: 6 } },
    words: /\b(measure|sum|average|mean|statistic|number|metric)/i,
  },
  digest: {
    description: 'The SHA-256 of a text, in hexadecimal.',
    input: object({ text: { type: 'string' } }),
    output: object({ sha256: { type: 'string' } }),
    imports: "import { createHash } from 'node:crypto'",
    code: "async ({ text }: { text: string }) => ({ sha256: createHash('sha256').update(text).digest('hex') })",
    test: {
      input: { text: 'abc' },
      expect: { sha256: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad' },
    },
    words: /\b(digest|hash|checksum|sha)/i,
  },
} as const satisfies Record<string, Template>

/** The templates that a goal speaks of; echo when it speaks of none. */
export function templatesFor(goal: string): TemplateName[] {
  const names = (Object.keys(TEMPLATES) as TemplateName[]).filter((name) => TEMPLATES[name].words.test(goal))
  return names.length > 0 ? names : ['echo']
}

export function isTemplate(name: string): name is TemplateName {
  return Object.hasOwn(TEMPLATES, name)
}

function object(properties: Readonly<Record<string, object>>): object {
  return { type: 'object', required: Object.keys(properties), additionalProperties: false, properties }
}

function natural(): object {
  return { type: 'integer', minimum: 0 }
}
