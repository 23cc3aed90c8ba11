//! `#[derive(Settings)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Error, Expr, Field, Fields, Lit, Meta, Path};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream, Error> {
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => &fields.named,
            Fields::Unnamed(_) | Fields::Unit => return Err(not_named(input)),
        },
        Data::Enum(_) | Data::Union(_) => return Err(not_named(input)),
    };
    let mut specs = Vec::new();
    let mut takes = Vec::new();
    let mut names = Vec::new();
    for field in fields {
        let Some(name) = &field.ident else { return Err(not_named(input)) };
        let setting = name.to_string();
        let ty = &field.ty;
        let doc = doc(field)?;
        let FieldOptions { default, check } = field_options(field)?;
        let default = match default {
            None => quote!(::core::option::Option::None),
            Some(default) => {
                // A list is written `[404]`; the SDK takes it as a static slice.
                let reference = matches!(default, Expr::Array(_)).then(|| quote!(&));
                let default = quote!(#reference #default);
                quote!({
                    const DEFAULT: <#ty as ::portcullis_sdk::FromSetting>::Default = #default;
                    ::core::option::Option::Some(DEFAULT)
                })
            }
        };
        let check = match check {
            None => quote!(::portcullis_sdk::derive::unchecked),
            // A closure, so that a check of a list may take a slice.
            Some(path) => quote!(|value: &#ty| #path(value)),
        };
        specs.push(quote!(::portcullis_sdk::derive::spec::<#ty>(#setting, #default, #doc)));
        takes.push(quote!(let #name = reader.take::<#ty>(#setting, #check);));
        names.push(name);
    }
    let validate = validate(&input.attrs)?.map(|path| quote!(#path(&read, reader.problems());));
    let ident = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        impl #generics ::portcullis_sdk::Settings for #ident #arguments #bounds {
            fn specs() -> ::std::vec::Vec<::portcullis_sdk::SettingSpec> {
                ::std::vec![#(#specs),*]
            }

            fn read(reader: &mut ::portcullis_sdk::Reader) -> ::core::option::Option<Self> {
                // All are taken before the first is looked at: every mistake is told.
                #(#takes)*
                let read = Self { #(#names: #names?),* };
                #validate
                ::core::option::Option::Some(read)
            }
        }
    })
}

fn not_named(input: &DeriveInput) -> Error {
    Error::new_spanned(&input.ident, "settings are a struct with named fields")
}

#[derive(Default)]
struct FieldOptions {
    default: Option<Expr>,
    check: Option<Path>,
}

fn field_options(field: &Field) -> Result<FieldOptions, Error> {
    let mut options = FieldOptions::default();
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("setting")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("default") {
                options.default = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("check") {
                options.check = Some(meta.value()?.parse()?);
            } else {
                return Err(meta.error("a setting has `default = …` and `check = …`"));
            }
            Ok(())
        })?;
    }
    Ok(options)
}

fn validate(attributes: &[Attribute]) -> Result<Option<Path>, Error> {
    let mut validate = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("settings")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("validate") {
                validate = Some(meta.value()?.parse()?);
                return Ok(());
            }
            Err(meta.error("settings have `validate = …`"))
        })?;
    }
    Ok(validate)
}

/// The doc comment on one line. A setting without one is a mistake: it is all that an
/// operator learns of it.
fn doc(field: &Field) -> Result<String, Error> {
    let mut words = Vec::new();
    for attribute in &field.attrs {
        if let Meta::NameValue(meta) = &attribute.meta
            && meta.path.is_ident("doc")
            && let Expr::Lit(line) = &meta.value
            && let Lit::Str(line) = &line.lit
        {
            words.extend(line.value().split_whitespace().map(str::to_owned));
        }
    }
    if words.is_empty() {
        return Err(Error::new_spanned(field, "a setting needs a doc comment: one line, with the unit"));
    }
    Ok(words.join(" "))
}
