import type { Shelved } from './shelf.ts'

/** One document that fits. */
export interface Hit {
  readonly source: Shelved['source']
  /** Id of the mission, name of the entry or document, path of the file. */
  readonly where: string
  readonly title: string
  readonly score: number
  readonly line: number
  readonly snippet: string
  /** Further missions with the same goal. */
  readonly also?: number
}

/** How many documents of each kind were looked at. */
export interface Searched {
  readonly missions: number
  readonly kept: number
  readonly files: number
  readonly given: number
}
