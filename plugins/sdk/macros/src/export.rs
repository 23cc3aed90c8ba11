//! `export!`: the functions of the interface, as calls of the SDK's glue.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, Token};

/// The kinds of judge that a plugin can export.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Wait,
    Ban,
    Scanner,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Wait, Kind::Ban, Kind::Scanner];

    fn name(self) -> &'static str {
        match self {
            Kind::Wait => "wait",
            Kind::Ban => "ban",
            Kind::Scanner => "scanner",
        }
    }

    /// The SDK's marker of the kind.
    fn marker(self) -> TokenStream {
        match self {
            Kind::Wait => quote!(::portcullis_sdk::WaitKind),
            Kind::Ban => quote!(::portcullis_sdk::BanKind),
            Kind::Scanner => quote!(::portcullis_sdk::ScannerKind),
        }
    }

    /// The exported function, as the canonical ABI names it.
    fn judge(self) -> String {
        format!("portcullis:policy/{}@0.1.0#judge", self.name())
    }
}

/// `key = value`, or the judge alone.
struct Argument {
    key: Option<Ident>,
    value: Expr,
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> Result<Self, Error> {
        let key = if input.peek(Ident) && input.peek2(Token![=]) {
            let key = input.parse()?;
            input.parse::<Token![=]>()?;
            Some(key)
        } else {
            None
        };
        Ok(Self { key, value: input.parse()? })
    }
}

#[derive(Default)]
struct Arguments {
    name: Option<Expr>,
    doc: Option<Expr>,
    interest: Option<Expr>,
    judges: Vec<(Kind, Expr)>,
}

fn arguments(input: TokenStream, only: Option<Kind>) -> Result<Arguments, Error> {
    let list = Punctuated::<Argument, Token![,]>::parse_terminated.parse2(input)?;
    let mut arguments = Arguments::default();
    for Argument { key, value } in list {
        let Some(key) = key else {
            let Some(kind) = only else {
                return Err(Error::new_spanned(value, "say of which kind: `ban = judge`"));
            };
            arguments.judges.push((kind, value));
            continue;
        };
        let kind = Kind::ALL.into_iter().find(|kind| key == kind.name());
        match (kind, only, key.to_string().as_str()) {
            (Some(kind), None, _) => arguments.judges.push((kind, value)),
            (None, _, "name") => arguments.name = Some(value),
            (None, _, "doc") => arguments.doc = Some(value),
            (None, _, "interest") => arguments.interest = Some(value),
            (Some(_), Some(_), _) => {
                return Err(Error::new_spanned(key, "several kinds are exported with `portcullis_sdk::export!`"));
            }
            (None, _, _) => {
                return Err(Error::new_spanned(key, "expected name, doc, interest or a judge"));
            }
        }
    }
    Ok(arguments)
}

pub(crate) fn expand(input: TokenStream, only: Option<Kind>) -> Result<TokenStream, Error> {
    let span = proc_macro2::Span::call_site();
    let Arguments { name, doc, interest, judges } = arguments(input, only)?;
    let name = name.ok_or_else(|| Error::new(span, "a plugin needs a name: `name = \"…\"`"))?;
    let doc = doc.map_or_else(|| quote!(::core::env!("CARGO_PKG_DESCRIPTION")), |doc| quote!(#doc));
    let interest = interest.map_or_else(|| quote!(::portcullis_sdk::glue::everything), |interest| quote!(#interest));
    let Some((first_kind, first)) = judges.first() else {
        return Err(Error::new(span, "a plugin needs a judge: `export!(name = \"…\", judge)`"));
    };
    for kind in Kind::ALL {
        if judges.iter().filter(|(other, _)| *other == kind).count() > 1 {
            return Err(Error::new(span, format!("two judges of kind {}", kind.name())));
        }
    }
    let first_marker = first_kind.marker();
    let formats = judges.iter().map(|(kind, judge)| {
        let marker = kind.marker();
        quote!(glue::format::<#marker, _, _>(&#judge))
    });
    let same = judges.iter().skip(1).map(|(kind, judge)| {
        let marker = kind.marker();
        quote!(glue::same_settings::<#first_marker, _, _, #marker, _, _>(&#first, &#judge);)
    });
    let guests = judges.iter().map(|(kind, judge)| guest(*kind, judge));
    let exports = judges.iter().map(|(kind, _)| {
        let module = format_ident!("{}", kind.name());
        let export = format_ident!("export_{}", kind.name());
        // The interface's description alone: the function is ours.
        quote!(::portcullis_sdk::bindings::#module::#export!(
            Plugin with_types_in ::portcullis_sdk::bindings::described
        );)
    });
    Ok(quote! {
        // Natively nothing is exported; the same code is compiled, so that a mistake
        // shows and the judge counts as used.
        #[allow(
            dead_code,
            missing_docs,
            unreachable_pub,
            unsafe_code,
            clippy::all,
            clippy::panic,
            clippy::unwrap_used,
            reason = "generated: the exports of a component are unsafe by nature"
        )]
        const _: () = {
            use ::portcullis_sdk::glue;

            static SLOT: glue::Slot = glue::Slot::new();

            struct Plugin;

            impl ::portcullis_sdk::bindings::plugin::Guest for Plugin {
                fn describe() -> glue::Description {
                    #(#same)*
                    const ABOUT: glue::About = glue::About {
                        name: #name,
                        version: ::core::env!("CARGO_PKG_VERSION"),
                        doc: #doc,
                    };
                    glue::describe(
                        &ABOUT,
                        glue::specs::<#first_marker, _, _>(&#first),
                        &[#(#formats),*],
                    )
                }

                fn configure(
                    settings: ::std::vec::Vec<glue::Setting>,
                ) -> ::core::result::Result<glue::WireInterest, ::std::vec::Vec<glue::SettingError>>
                {
                    glue::configure::<#first_marker, _, _>(&SLOT, &#first, settings, #interest)
                }
            }

            #(#guests)*

            #[cfg(target_arch = "wasm32")]
            const _: () = {
                ::portcullis_sdk::bindings::plugin::export_plugin!(
                    Plugin with_types_in ::portcullis_sdk::bindings::plugin
                );
                #(#exports)*
            };
        };
    })
}

fn guest(kind: Kind, judge: &Expr) -> TokenStream {
    let function = format_ident!("judge_{}", kind.name());
    let export = kind.judge();
    quote! {
        #[cfg_attr(target_arch = "wasm32", unsafe(export_name = #export))]
        extern "C" fn #function(arguments: *mut u8) -> *mut u8 {
            // What the author wrote stands outside of what is unsafe here.
            let judge = &#judge;
            // SAFETY: the host alone calls this, with arguments that it has laid out.
            unsafe { glue::#function(&SLOT, judge, arguments) }
        }
    }
}
