/** Words that say nothing about what a text is about. */
const STOP_WORDS = new Set(
  (
    'a about after all also an and any are as at be because been before but by can could did do does for from had has ' +
    'have he her his how i if in into is it its just me my no not of on one or our out over she should so some than ' +
    'that the their them then there these they this to up us was we were what when where which who why will with ' +
    'would you your'
  ).split(' '),
)

const WORD = /[\p{L}\p{N}]+/gu
const CAMEL = /([\p{Ll}\p{N}])(\p{Lu})/gu
const MARK = /\p{M}/gu
const UNSPACED = /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]+$/u
// biome-ignore lint/suspicious/noControlCharactersInRegex: the range is ASCII, and plain text takes the short way.
const ASCII = /^[\x00-\x7f]*$/

/** A word is cut here: longer ones are hashes and encoded data, which nobody searches whole. */
const WORD_CHARS_MAX = 64

/**
 * The words of a text in order, as they are compared: lower case, without accents, in their stem, camelCase and
 * snake_case in parts. Scripts without spaces give pairs of characters.
 */
export function words(text: string): string[] {
  const found: string[] = []
  const plain = ASCII.test(text) ? text : text.normalize('NFKD').replace(MARK, '')
  for (const match of plain.replace(CAMEL, '$1 $2').toLowerCase().match(WORD) ?? []) {
    const word = match.slice(0, WORD_CHARS_MAX)
    if (word.charCodeAt(0) > 0x2e7f && UNSPACED.test(word)) found.push(...pairs(word))
    else found.push(stem(word))
  }
  return found
}

/** The different words a query asks for; stop words only when it has no others. */
export function queryTerms(query: string): string[] {
  const all = [...new Set(words(query))]
  const telling = all.filter((word) => !STOP_WORDS.has(word))
  return telling.length > 0 ? telling : all
}

/**
 * Plural, -ing, -ed and a last e come off, and little else, so that what is found can be seen to fit: reload, reloads,
 * reloading and reloaded are one word; stop and stopped; lose and losing.
 */
function stem(word: string): string {
  const one = singular(word)
  const bare = one.replace(one.endsWith('eed') ? /$/ : /(?<=[aeiouy].*)(?<=...)(ing|ed)$/, '')
  if (bare === one) return one.length > 3 && one.endsWith('e') ? one.slice(0, -1) : one
  return /([^aeiouylsz])\1$/.test(bare) ? bare.slice(0, -1) : bare
}

/** Harman's S-stemmer. */
function singular(word: string): string {
  if (word.length < 4 || !word.endsWith('s')) return word
  if (word.endsWith('ies')) return /[ae]ies$/.test(word) ? word : `${word.slice(0, -3)}y`
  if (word.endsWith('es')) return /[aeo]es$/.test(word) ? word : word.slice(0, -1)
  return /[us]s$/.test(word) ? word : word.slice(0, -1)
}

function pairs(run: string): string[] {
  const characters = [...run]
  if (characters.length === 1) return characters
  return characters.slice(1).map((character, at) => `${characters[at]}${character}`)
}
