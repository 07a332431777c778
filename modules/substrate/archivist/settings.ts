/** The module's configuration, as `config` of `module.json` describes it. */
export interface Settings {
  readonly extensions: readonly string[]
  readonly skip_folders: readonly string[]
  readonly file_bytes_max: number
  readonly text_bytes_max: number
  readonly files_max: number
  readonly missions_max: number
  readonly library_max: number
}
