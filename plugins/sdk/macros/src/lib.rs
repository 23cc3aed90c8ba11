//! The macros of `portcullis-sdk`: two derives and the export. They only turn
//! declarations into calls of the SDK; what those do is written there.

mod export;
mod settings;
mod state;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes a struct with named fields the settings of a policy. See the trait
/// `portcullis_sdk::Settings` for the attributes.
#[proc_macro_derive(Settings, attributes(settings, setting))]
pub fn derive_settings(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as syn::DeriveInput);
    settings::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a struct the state of a policy, encoded with borsh:
/// `#[state(format = "failures-in-a-row/1")]`. A struct that is only a part of a
/// state carries `#[state(part)]` instead.
#[proc_macro_derive(State, attributes(state))]
pub fn derive_state(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as syn::DeriveInput);
    state::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes the crate a plugin with a `wait` judge: `export!(name = "…", judge)`, and
/// optionally `doc = "…"` and `interest = function`.
#[proc_macro]
pub fn export_wait(input: TokenStream) -> TokenStream {
    expand_export(input, Some(export::Kind::Wait))
}

/// Makes the crate a plugin with a `ban` judge: `export!(name = "…", judge)`, and
/// optionally `doc = "…"` and `interest = function`.
#[proc_macro]
pub fn export_ban(input: TokenStream) -> TokenStream {
    expand_export(input, Some(export::Kind::Ban))
}

/// Makes the crate a plugin with a `scanner` judge: `export!(name = "…", judge)`, and
/// optionally `doc = "…"` and `interest = function`.
#[proc_macro]
pub fn export_scanner(input: TokenStream) -> TokenStream {
    expand_export(input, Some(export::Kind::Scanner))
}

/// Makes the crate a plugin of several kinds, which share their settings:
/// `export!(name = "…", wait = judge, ban = judge, scanner = judge)`, any of the three
/// may be missing; optionally `doc = "…"` and `interest = function`.
#[proc_macro]
pub fn export(input: TokenStream) -> TokenStream {
    expand_export(input, None)
}

fn expand_export(input: TokenStream, kind: Option<export::Kind>) -> TokenStream {
    export::expand(input.into(), kind).unwrap_or_else(syn::Error::into_compile_error).into()
}
