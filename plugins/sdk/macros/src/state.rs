//! `#[derive(State)]`: borsh of the fields in their order, which is what borsh's own
//! derive writes.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Fields, Index, LitStr};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream, Error> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "a state is a struct"));
    };
    let format = format(input)?;
    let ident = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();

    let accesses: Vec<TokenStream> = match &data.fields {
        Fields::Named(fields) => {
            fields.named.iter().map(|field| field.ident.as_ref()).map(|name| quote!(#name)).collect()
        }
        Fields::Unnamed(fields) => (0..fields.unnamed.len()).map(Index::from).map(|index| quote!(#index)).collect(),
        Fields::Unit => Vec::new(),
    };
    let types = data.fields.iter().map(|field| &field.ty);
    let borsh = quote!(::portcullis_sdk::derive::borsh);
    let state = format.map(|format| {
        quote! {
            impl #generics ::portcullis_sdk::State for #ident #arguments #bounds {
                const FORMAT: &'static str = #format;

                fn encode(
                    &self,
                    bytes: &mut ::std::vec::Vec<u8>,
                ) -> ::core::result::Result<(), ::std::string::String> {
                    #borsh::to_writer(bytes, self).map_err(::portcullis_sdk::derive::text)
                }

                fn decode(
                    bytes: &[u8],
                ) -> ::core::result::Result<Self, ::std::string::String> {
                    #borsh::from_slice(bytes).map_err(::portcullis_sdk::derive::text)
                }
            }
        }
    });
    let writer = format_ident!("writer");
    let reader = format_ident!("reader");
    Ok(quote! {
        impl #generics #borsh::BorshSerialize for #ident #arguments #bounds {
            fn serialize<W: #borsh::io::Write>(&self, #writer: &mut W) -> #borsh::io::Result<()> {
                let _ = &#writer;
                #(#borsh::BorshSerialize::serialize(&self.#accesses, #writer)?;)*
                ::core::result::Result::Ok(())
            }
        }

        impl #generics #borsh::BorshDeserialize for #ident #arguments #bounds {
            fn deserialize_reader<R: #borsh::io::Read>(#reader: &mut R) -> #borsh::io::Result<Self> {
                let _ = &#reader;
                ::core::result::Result::Ok(Self {
                    #(#accesses: <#types as #borsh::BorshDeserialize>::deserialize_reader(#reader)?,)*
                })
            }
        }

        #state
    })
}

/// The format's name, or nothing for a part of another state.
fn format(input: &DeriveInput) -> Result<Option<String>, Error> {
    let mut format = None;
    let mut part = false;
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("state")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("format") {
                format = Some(meta.value()?.parse::<LitStr>()?.value());
            } else if meta.path.is_ident("part") {
                part = true;
            } else {
                return Err(meta.error("a state has `format = \"…\"`, or is a `part`"));
            }
            Ok(())
        })?;
    }
    if format.as_deref().is_none_or(str::is_empty) != part {
        return Err(Error::new_spanned(
            &input.ident,
            "name the layout with #[state(format = \"what-is-kept/1\")], \
             or mark a part of another state with #[state(part)]",
        ));
    }
    Ok(format)
}
